"""A contender that needs an environment of its own runs as a process of its own, driven by JSON lines on its pipes.

``protocol`` is the side of the process, ``worker`` the side of whoever drives it; ``vllm_worker`` and ``vllm_driver``
are the two for vLLM. What runs there may import nothing of the book but ``protocol``.
"""
