"""A logits processor for tests: it has a request generate the token that the request itself names."""

from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class Preferring(AdapterLogitsProcessor):
    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        token = (params.extra_args or {}).get("preferred")
        if token is None:
            return None

        def prefer(_: list[int], logits: Any) -> Any:
            logits[token] = 1000.0
            return logits

        return prefer
