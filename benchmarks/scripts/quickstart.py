"""A tour of ``LLM``, which takes the folder of a model: on vLLM it runs with the import changed, and nothing else.

``lines`` is what it finds out. The page that compares both engines shows the script from ``greedy`` on.
"""

import sys

from kb.serving import LLM, SamplingParams

llm = LLM(model=sys.argv[1], dtype="float32", max_model_len=1024)

greedy = SamplingParams(temperature=0, max_tokens=12)
prompts = ["The capital of France is", "Once upon a time", "def fib(n):", "Water boils at"]
lines = []
for output in llm.generate(prompts, greedy, use_tqdm=False):
    one = output.outputs[0]
    lines.append(f"{output.prompt!r} {one.text!r} {one.finish_reason}")

endings = {
    "length": SamplingParams(temperature=0, max_tokens=9),
    "stop": SamplingParams(temperature=0, stop=["."]),
    "stop kept": SamplingParams(temperature=0, stop=".", include_stop_str_in_output=True),
    "stop_token_ids": SamplingParams(temperature=0, stop_token_ids=[30]),
    "min_tokens": SamplingParams(temperature=0, max_tokens=32, stop=".", min_tokens=12),
}
for name, params in endings.items():
    (output,) = llm.generate(prompts[0], params, use_tqdm=False)
    one = output.outputs[0]
    ended = f"{one.finish_reason} {one.stop_reason!r}"
    lines.append(f"{name}: {one.text!r} {len(one.token_ids)} {ended}")

asked = SamplingParams(temperature=0, max_tokens=1, logprobs=2, prompt_logprobs=0)
(output,) = llm.generate("The sun rises in the", asked, use_tqdm=False)
for place in output.outputs[0].logprobs or []:
    for token, found in place.items():
        lines.append(f"{token} {found.decoded_token!r} {found.logprob:.2f} {found.rank}")
read = [next(iter(place.values())) for place in output.prompt_logprobs or [] if place]
lines.append(" ".join(f"{found.decoded_token!r} {found.logprob:.1f}" for found in read))

question = "What is the capital of France? Answer in one word."
(output,) = llm.chat([{"role": "user", "content": question}], greedy, use_tqdm=False)
lines.append(f"{output.outputs[0].text!r} {output.outputs[0].finish_reason}")
print("\n".join(lines))
