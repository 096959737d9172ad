"""Jira's query language: its grammar, its syntax errors in Jira's words, and the tree it makes of a query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

_GRAMMAR = r"""
start: [condition] [ordering]
?condition: conjunction (OR conjunction)*
?conjunction: negation (AND negation)*
?negation: NOT negation -> negation
    | field operator operand -> clause
    | "(" condition ")"

field: WORD | STRING
operator: EQ | NE | LT | LE | GT | GE | LIKE | UNLIKE | NOT? IN | IS NOT?
?operand: item | items
items: "(" item ("," item)* ")"
?item: text | EMPTY -> empty
    | WORD "(" [text ("," text)*] ")" -> function
text: WORD | STRING

ordering: ORDER BY sorting ("," sorting)*
sorting: field [ASC | DESC]

EQ: "="
NE: "!="
LE: "<="
LT: "<"
GE: ">="
GT: ">"
LIKE: "~"
UNLIKE: "!~"
NOT: "!"
AND: "&&" | "&"
OR: "||" | "|"
STRING: /"(?:[^"\\]|\\[\s\S])*"|'(?:[^'\\]|\\[\s\S])*'/
WORD: /(?:[^\s'"()=!<>~,&|{}*\/%+^$#@?;\[\]\\]|\\[\s\S])+/
%declare IN IS EMPTY ORDER BY ASC DESC
%import common.WS
%ignore WS
"""
_KEYWORDS = {
    **{
        word: word.upper() for word in ("and", "or", "not", "in", "is", "empty", "order", "by", "asc", "desc")
    },
    "null": "EMPTY",
}
_OPERATORS = "'=', '!=', '<', '>', '<=', '>=', '~', '!~', 'IN', 'NOT IN', 'IS' and 'IS NOT'"
_AN_OPERATOR, _A_VALUE = "operator", "either a value, list or function"
# What to say was expected, by what the parser could have taken; the first that fits.
_WANTED = (
    ({"EQ"}, _AN_OPERATOR),
    ({"EMPTY"}, _A_VALUE),
    ({"OR"}, "either 'OR' or 'AND'"),
    ({"COMMA", "RPAR"}, "',' or ')'"),
    ({"RPAR"}, "')'"),
    ({"BY"}, "'BY'"),
    ({"IN"}, "'IN'"),
    ({"WORD"}, "a field name"),
    (set[str](), "either 'OR' or 'AND'"),
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[\s\S])")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"', " ": " "}

# SQLite bounds the depth of an expression and the number of bound parameters; these stay well within.
_MOST_LEVELS, _MOST_CLAUSES = 10, 5000


class JqlError(ValueError):
    """A query that Jira refuses; its text is what Jira says."""


@dataclass(frozen=True)
class Text:
    """A value as it was written, without quotes and escapes."""

    text: str


@dataclass(frozen=True)
class Function:
    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Empty:
    """``EMPTY`` or ``NULL``."""


Operand = Text | Function | Empty


@dataclass(frozen=True)
class Clause:
    """``field operator operand``; the operator is in capitals, the operand is one unless ``is_list``."""

    field: str
    operator: str
    operands: tuple[Operand, ...]
    is_list: bool
    levels: int = 1
    clauses: int = 1


@dataclass(frozen=True)
class Not:
    term: Condition
    levels: int
    clauses: int


@dataclass(frozen=True)
class Joined:
    """Two or more terms between ``AND`` or ``OR``."""

    operator: str
    terms: tuple[Condition, ...]
    levels: int
    clauses: int


Condition = Clause | Not | Joined


@dataclass(frozen=True)
class Query:
    """A whole query; ``order_by`` has the fields' names."""

    where: Condition | None
    order_by: tuple[str, ...]


def parse(jql: str) -> Query:
    """Read a query; raises :class:`JqlError` for anything that is none."""
    if any("\ud800" <= character <= "\udfff" for character in jql):
        raise _error("The query holds half of a surrogate pair.")
    try:
        query = _PARSER.parse(jql)
    except UnexpectedCharacters as error:
        raise _illegal_character(jql, error) from None
    except UnexpectedToken as error:
        raise _unexpected(error) from None
    assert isinstance(query, Query)
    return query


class _Reader(Transformer[Token, Any]):
    """Builds the tree while the text is parsed, so that no depth of nesting exhausts the stack."""

    def start(self, children: list[Any]) -> Query:
        condition, ordering = children
        return Query(condition, ordering or ())

    def condition(self, children: list[Any]) -> Condition:
        return _joined("OR", children[::2])

    def conjunction(self, children: list[Any]) -> Condition:
        return _joined("AND", children[::2])

    def negation(self, children: list[Any]) -> Condition:
        term: Condition = children[1]
        if isinstance(term, Not):
            return term.term
        return _checked(Not(term, term.levels + 1, term.clauses))

    def clause(self, children: list[Any]) -> Clause:
        field, operator, operand = children
        is_list = isinstance(operand, tuple)
        return Clause(field, operator, operand if is_list else (operand,), is_list)

    def field(self, children: list[Token]) -> str:
        return _unescaped(children[0])

    def operator(self, children: list[Token]) -> str:
        words = ("NOT" if token.type == "NOT" else token.upper() for token in children)
        return " ".join(words)

    def items(self, children: list[Operand]) -> tuple[Operand, ...]:
        return tuple(children)

    def text(self, children: list[Token]) -> Text:
        return Text(_unescaped(children[0]))

    def empty(self, children: list[Token]) -> Empty:
        return Empty()

    def function(self, children: list[Any]) -> Function:
        name, *arguments = children
        return Function(_unescaped(name), tuple(argument.text for argument in arguments if argument))

    def ordering(self, children: list[Any]) -> tuple[str, ...]:
        return tuple(children[2:])

    def sorting(self, children: list[Any]) -> str:
        return str(children[0])


def _joined(operator: str, terms: list[Condition]) -> Condition:
    flat: list[Condition] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Joined) and term.operator == operator else [term])
    levels, clauses = max(term.levels for term in flat) + 1, sum(term.clauses for term in flat)
    return _checked(Joined(operator, tuple(flat), levels, clauses))


def _checked(condition: Condition) -> Condition:
    if condition.levels > _MOST_LEVELS or condition.clauses > _MOST_CLAUSES:
        raise _error("The query is too complex.")
    return condition


def _unescaped(token: Token) -> str:
    text = token[1:-1] if token.type == "STRING" else str(token)
    return _ESCAPE.sub(lambda match: _escaped(match, token), text)


def _escaped(match: re.Match[str], token: Token) -> str:
    code = match[1]
    character = chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPED.get(code)
    if character is None or "\ud800" <= character <= "\udfff":
        _refuse_escape(match[0], token)
    return character


def _refuse_escape(sequence: str, token: Token) -> NoReturn:
    raise _error(
        f"'{sequence}' is an illegal JQL escape sequence. The valid escape sequences are"
        r" \', \", \t, \n, \r, \\, '\ ' and \uXXXX.",
        token.line,
        token.column,
    )


def _keyword(token: Token) -> Token:
    return Token.new_borrow_pos(_KEYWORDS.get(token.lower(), "WORD"), token, token)


def _error(text: str, line: int | None = None, column: int | None = None) -> JqlError:
    place = "" if line is None else f" (line {line}, character {column})"
    return JqlError(f"Error in the JQL Query: {text}{place}")


def _illegal_character(jql: str, error: UnexpectedCharacters) -> JqlError:
    character, rest = error.char, jql[error.pos_in_stream :]
    if character in ("'", '"'):
        text = f"The quoted string {rest} has not been completed."
    elif character == "\\":
        text = f"'{rest}' is an illegal JQL escape sequence."
    else:
        text = (
            f"The character '{character}' is a reserved JQL character."
            f" You must enclose it in a string or use the escape '\\u{ord(character):04x}' instead."
        )
    return _error(text, error.line, error.column)


def _unexpected(error: UnexpectedToken) -> JqlError:
    token, expected = error.token, error.accepts
    is_end = token.type == "$END"
    wanted = next(words for terminals, words in _WANTED if terminals <= expected)
    hint = ""
    if wanted == _AN_OPERATOR:
        hint = f" The valid operators are {_OPERATORS}."
    elif wanted == _A_VALUE and not is_end:
        hint = f" You must surround '{token}' in quotation marks to use it as a value."
    if is_end:
        return _error(f"Expecting {wanted} before the end of the query.{hint}")
    return _error(f"Expecting {wanted} but got '{token}'.{hint}", token.line, token.column)


_PARSER = Lark(
    _GRAMMAR,
    parser="lalr",
    lexer="basic",
    maybe_placeholders=True,
    transformer=_Reader(),
    lexer_callbacks={"WORD": _keyword},
)
