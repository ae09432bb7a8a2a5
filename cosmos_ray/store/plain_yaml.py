"""YAML as people mean it, and nothing more: what a file of settings may be."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

from cosmos_ray.foreign import shown

#: `found undefined tag handle '!x!'`
_HANDLE = re.compile(r"(tag handle) .*")


class DecimalLoader(yaml.SafeLoader):
    """YAML whose numbers are decimal: in YAML 1.1 `gangs: 1:4` would be a number of base 60, and make 64 gangs; `012`
    would be ten, and `1e-3` a text."""


class _Loader(DecimalLoader):
    """And without names for parts of it: a page of them, each made of the ones before, would fill the memory. And with
    each key once: of two values the first would be lost without a word."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "found an alias, expected the value itself", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in self.yaml_constructors:
            fault = "found a tag, expected the value alone"
        else:
            try:
                return super().construct_object(node, deep)
            except (ValueError, KeyError, AttributeError, OverflowError, TypeError):  # 2001-99-99, !!bool x
                fault = f"found a value that cannot be read as {_kind(node)}"
        raise yaml.MarkedYAMLError(None, None, fault, node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"found the key {shown(twice[0])} twice in one group, expected each once")
        return super().construct_mapping(node, deep)


def _kind(node: yaml.Node) -> str:
    return "!!" + str(node.tag).rpartition(":")[2]


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:0|[1-9][0-9]*)$",
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
}
DecimalLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    DecimalLoader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789"))


def load_yaml(text: str) -> Any:
    """Raises yaml.YAMLError, for a text that is none and for values that are not what their form or tag says. Its words
    name the place, and quote no line: a file of secrets may be named by mistake."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader: it makes plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = _HANDLE.sub(r"\1", error.problem or "")
        raise yaml.YAMLError(where + ", ".join(filter(None, (error.context, problem)))) from None
    except RecursionError:
        raise yaml.YAMLError("found groups that nest too deep, expected settings") from None
    except (ValueError, KeyError, AttributeError, OverflowError, TypeError):  # !!set [x], which is filled at the end
        raise yaml.YAMLError("found a value that cannot be read") from None
