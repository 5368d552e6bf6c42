"""Which name means what: each case reads x once, in read(x); where x is bound is what Python's own rules say."""

import ast

import pytest

from archloop.evaluation.scopes import binder, scoped, text_of


def bound(program: str) -> list[tuple[str, list]]:
    """The kinds of the scopes that x may be bound in where it is read, with the origins of its bindings."""
    for node, scope in scoped(ast.parse(program)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read":
            scopes = binder("x", scope)
            return [(binding_scope.kind, [each.origin for each in bindings]) for binding_scope, bindings in scopes]
    raise AssertionError("nothing is read")


@pytest.mark.parametrize(
    ("program", "kinds"),
    [
        ("x = 1\nread(x)", ["module"]),
        ("read(x)", []),
        ("read(x)\ndef f():\n x = 1", []),
        ("def f():\n x = 1\n read(x)", ["function"]),
        ("x = 1\ndef f():\n read(x)", ["module"]),
        ("x = 1\ndef f():\n read(x)\n x = 2", ["function"]),
        ("x = 1\nasync def f(x):\n read(x)", ["function"]),
        ("x = 1\ndef f(*x):\n read(x)", ["function"]),
        ("x = 1\ndef f(**x):\n read(x)", ["function"]),
        ("x = 1\ndef f(*, x):\n read(x)", ["function"]),
        ("x = 1\nf = lambda x: read(x)", ["function"]),
        ("x = 1\nclass A:\n x = 2\n read(x)", ["class", "module"]),
        ("x = 1\nclass A:\n x = 2\n def f(self):\n  read(x)", ["module"]),
        ("class A:\n x = 2\n [read(x) for _ in y]", []),
        ("class A:\n x = 2\n [_ for _ in read(x)]", ["class"]),
        ("def f():\n x = 1\n class A:\n  read(x)", ["function"]),
        ("x = 1\ndef f(x):\n def g():\n  global x\n  read(x)", ["module"]),
        ("def f():\n global x\n x = 1\nread(x)", ["module"]),
        ("def f():\n if y:\n  global x\n x = 1\nread(x)", ["module"]),
        ("x = 1\ndef f():\n x = 2\n def g():\n  nonlocal x\n  read(x)", ["function"]),
        ("def f():\n def g():\n  global x\n x = 1\nread(x)", []),
        ("[x for x in y]\nread(x)", []),
        ("[read(x) for x in y]", ["comprehension"]),
        ("{read(x): 1 for x in y}", ["comprehension"]),
        ("[z for x in y for z in read(x)]", ["comprehension"]),
        ("[z for x in y if read(x)]", ["comprehension"]),
        ("[1 for x in read(x)]", []),
        ("[(x := 1) for _ in y]\nread(x)", ["module"]),
        ("def f():\n [[(x := 1) for _ in y] for _ in y]\n read(x)", ["function"]),
        ("def f(y=read(x)):\n x = 1", []),
        ("def f(*, y=read(x)):\n x = 1", []),
        ("def f(y: read(x)):\n x = 1", []),
        ("def f() -> read(x):\n x = 1", []),
        ("@read(x)\ndef f():\n x = 1", []),
        ("class A(read(x)):\n x = 1", []),
        ("class A(metaclass=read(x)):\n x = 1", []),
        ("@read(x)\nclass A:\n x = 1", []),
        ("try: pass\nexcept E as x:\n read(x)", ["module"]),
        ("match y:\n case [x, *z]: read(x)", ["module"]),
        ("match y:\n case [z, *x]: read(x)", ["module"]),
        ("match y:\n case {1: z, **x}: read(x)", ["module"]),
        ("for x in y: pass\nread(x)", ["module"]),
        ("with y as x: read(x)", ["module"]),
        ("def x(): pass\nread(x)", ["module"]),
        ("class x: pass\nread(x)", ["module"]),
        ("(x, z), w = y\nread(x)", ["module"]),
        ("x.z = 1\nread(x)", []),
        ("x: int\nread(x)", ["module"]),
    ],
)
def test_a_name_is_bound_where_python_binds_it(program, kinds):
    assert [kind for kind, _ in bound(program)] == kinds


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("import x", "x"),
        ("import x.y", "x"),
        ("import a.b as x", "a.b"),
        ("from a.b import x", "a.b.x"),
        ("from a.b import c as x", "a.b.c"),
        ("from ..a import x", "..a.x"),
        ("from . import x", "..x"),
    ],
)
def test_an_import_says_what_its_name_stands_for(line, origin):
    assert bound(f"{line}\nread(x)") == [("module", [origin])]


def test_an_assignment_says_what_a_name_is_another_name_for():
    for line in ("x = a.b", "y = x = a.b", "x: int = a.b", "print(x := a.b)"):
        nodes = scoped(ast.parse(line))
        ((_, bindings),) = binder("x", nodes[0][1])
        assert [ast.unparse(each.value) for each in bindings if each.value] == ["a.b"]


def test_what_inner_functions_bind_for_outer_ones_is_bound_there():
    program = (
        "def f():\n x = 1\n def g():\n  nonlocal x\n  import a as x\n def h():\n  global x\n  import b as x\n read(x)"
    )
    assert bound(program) == [("function", [None, None, "a"])]
    assert bound(f"{program}\n".replace(" read(x)", "read(x)")) == [("module", ["b"])]


def test_nodes_come_in_the_order_of_the_text():
    program = "a = 1\ndef f(b=c):\n d\n[e for e in g]\n"
    places = [(node.lineno, node.col_offset) for node, _ in scoped(ast.parse(program)) if isinstance(node, ast.stmt)]
    assert places == sorted(places) and len(places) == 4


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("read('a' + 'b' + 'c')", "abc"),
        ("read(f'a{x}b')\nx = 'c'", "acb"),
        ("x = 'a'\ny = x + 'b'\nread(y)", "ab"),
        ("x = 'a'\ndef f():\n read(f'{x}{x}')", "aa"),
        ("read(''.join(['a', 'b']))", "ab"),
        ("read(''.join(('a', 'b')))", "ab"),
        ("read('-'.join(['a', 'b']))", None),
        ("read(''.join(x))", None),
        ("read(f'{x:>9}')\nx = 'c'", None),
        ("x = 'a'\nx = 'b'\nread(x)", None),
        ("for x in y: pass\nread(x)", None),
        ("read(x)", None),
        ("read(1)", None),
        ("read('a' * 2)", None),
    ],
)
def test_a_text_that_is_put_together_of_written_parts_is_known(program, text):
    for node, scope in scoped(ast.parse(program)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read":
            assert text_of(node.args[0], scope) == text
            return
