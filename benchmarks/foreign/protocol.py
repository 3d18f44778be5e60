"""The side of a process that answers requests: one JSON object a line in, one a line out, until its input ends.

Unusual: what the process prints never meets its answers. They go to a duplicate of the first stdout, and stdout itself
is turned into stderr before anything else is imported, for Python and for C libraries alike. The end of the input ends
the process, so it does not outlive whoever started it. Only the standard library: it runs in any environment.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping


def serve(methods: Mapping[str, Callable[..., object]]) -> None:
    """Answer requests ``{"id", "method", "arguments"}`` by ``{"id", "result"}`` or ``{"id", "error"}``.

    Args:
        methods: What can be asked for, by name. ``cpu_seconds``, the time that the process has computed so far in all
            its threads, is always there.
    """
    known = {"cpu_seconds": time.process_time, **methods}
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    for line in requests:
        request = json.loads(line)
        answer: dict[str, object] = {"id": request["id"]}
        try:
            answer["result"] = known[request["method"]](**request["arguments"])
            written = json.dumps(answer)
        except Exception as error:  # whatever it is, the other side has to hear of it
            traceback.print_exc()
            written = json.dumps({"id": request["id"], "error": f"{type(error).__name__}: {error}"})
        answers.write(written + "\n")
        answers.flush()
