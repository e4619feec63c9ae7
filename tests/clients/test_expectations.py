"""The judge of the client runs must itself be able to fail: each kind of wrong run is told."""

import tomllib

import pytest

import compatibility
import expectations
from programs import Outcome

WORKS = Outcome("", 0.1)
FAILS = Outcome("42601 syntax error", 0.1)
ONE, TWO = ("client, one", "a | b"), ("client, one", 'quoted "name" \\d')


@pytest.mark.parametrize(
    ("gaps", "nyala", "postgres", "told"),
    [
        ({}, {ONE: WORKS}, {ONE: WORKS}, []),
        ({ONE: "why"}, {ONE: FAILS}, {ONE: WORKS}, []),
        ({}, {ONE: FAILS}, {ONE: WORKS}, ["regression"]),
        ({ONE: "why"}, {ONE: WORKS}, {ONE: WORKS}, ["works now"]),
        ({ONE: "unexplained"}, {ONE: FAILS}, {ONE: WORKS}, ["no reason"]),
        ({}, {ONE: WORKS}, {ONE: FAILS}, ["PostgreSQL itself"]),
        ({}, {}, {ONE: WORKS}, ["no outcome"]),
        ({}, {ONE: WORKS}, {}, ["not proven"]),
        ({TWO: "why"}, {ONE: WORKS}, {ONE: WORKS}, ["no program tries"]),
    ],
)
def test_wrong_runs_are_told(gaps, nyala, postgres, told):
    found = expectations.complaints(gaps, nyala, postgres)
    assert len(found) == len(told), found
    assert all(word in line for word, line in zip(told, found))


def test_a_run_of_some_programs_says_nothing_of_others():
    assert expectations.complaints({TWO: "why"}, {ONE: WORKS}, {ONE: WORKS}, whole=False) == []


def test_the_list_is_read_as_it_is_written(tmp_path):
    gaps = {ONE: "first", TWO: 'a "second" reason'}
    path = tmp_path / "gaps.toml"
    expectations.save(gaps, path)
    assert expectations.load(path) == gaps
    assert list(tomllib.loads(path.read_text())) == ["client, one"]


def test_a_renewed_list_keeps_reasons_and_forgets_what_works():
    gaps = {ONE: "why", TWO: "gone"}
    assert expectations.renewed(gaps, {ONE: FAILS, TWO: WORKS}) == {ONE: "why"}
    assert expectations.renewed({}, {TWO: FAILS}) == {TWO: expectations.UNEXPLAINED}


def test_the_page_has_a_line_per_feature():
    page = compatibility.page({ONE: FAILS, TWO: WORKS}, {ONE: WORKS, TWO: WORKS}, {ONE: "why"})
    assert "| a \\| b | yes | no | why |" in page
    assert "| [client, one](#client-one) | 2 | 2 | 1 |" in page
