"""The tags of an image: what whoever may push a branch moves by it, and what never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tags import USUAL, Names, image_tags

SHA = "a" * 40
MANY = ["latest", "{branch}", "{tag}", "rel-{tag}-slim", "{version}", "v{major}", "x-{branch}", "at-{sha}"]


def tags(templates: list[str], **names: str) -> list[str]:
    return image_tags(templates, Names(SHA, "r", **{"default_branch": "main", **names}))[1:]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "branch", "made"),
    [
        ("latest", "main", ["latest"]),
        ("latest", "next", []),
        ("edge", "next", []),
        ("{short_sha}", "next", []),
        ("{short_sha}", "main", [SHA[:7]]),
        ("at-{sha}", "next", [f"at-{SHA}"]),
        ("{branch}", "next", ["next"]),
        ("{branch}-{short_sha}", "next", [f"next-{SHA[:7]}"]),
        ("{branch}", "b" * 129, []),
        ("{branch}-{sha}", "b" * 87, [f"{'b' * 87}-{SHA}"]),
        ("{branch}-{sha}", "b" * 88, []),
    ],
)
def test_a_branch_moves_what_has_its_name_or_its_commit_and_the_default_one_all(
    template: str, branch: str, made: list[str]
) -> None:
    assert tags([template], branch=branch) == made


def test_a_git_tag_and_a_release_move_what_has_no_branch_in_it() -> None:
    assert tags(["latest", "{short_sha}", "{branch}"], tag="v1.2.3") == ["latest", SHA[:7]]


@pytest.mark.parametrize(
    ("branch", "tag"),
    [
        ("v1.2.3", "branch-v1.2.3"),
        ("é/v1.2.3", "branch-v1.2.3"),
        ("2024", "branch-2024"),
        ("tag-nightly", "branch-tag-nightly"),
        ("branch-v1", "branch-branch-v1"),
        ("latest", "branch-latest"),
        ("latest-news", "latest-news"),
        ("versions", "versions"),
    ],
)
def test_a_branch_that_is_named_as_a_git_tag_is_spelled_as_none(branch: str, tag: str) -> None:
    assert tags(["{branch}"], branch=branch) == [tag]


def test_a_version_has_the_digits_that_tags_are_spelled_with() -> None:
    assert tags(["{version}", "{minor}"], tag="v\N{ARABIC-INDIC DIGIT ONE}.2.3") == []


@pytest.mark.parametrize(
    ("git_tag", "tag"), [("v1.2.3", "v1.2.3"), ("2024-01", "2024-01"), ("nightly", "tag-nightly")]
)
def test_a_git_tag_that_is_no_version_says_that_it_is_one(git_tag: str, tag: str) -> None:
    assert tags(["{tag}"], tag=git_tag) == [tag]


@pytest.mark.parametrize("branch", ["rel-v1-slim", "x-main", "at-" + "b" * 40, "c" * 40, "rel-tag-x-slim"])
def test_a_branch_never_has_what_another_template_makes_of_others(branch: str) -> None:
    assert branch not in tags(MANY, branch=branch)


def test_two_spellings_of_one_name_are_not_the_default_branchs() -> None:
    assert tags(["{branch}"], branch="release/1", default_branch="release/1") == ["release-1"]
    assert tags(["{branch}"], branch="release-1", default_branch="release/1") == []


names = st.text(st.sampled_from("vVlatesrg-bnch10./é_"), min_size=1, max_size=9) | st.sampled_from(
    ["latest", "main", "x-main", "rel-v1-slim", "tag-a", "branch-a", "v1.2.3", "1.2.3", "v1", "at-" + SHA]
)


@given(branch=names.filter(lambda name: name != "main"), git_tag=names)
def test_no_branch_ever_has_a_tag_of_a_git_tag_or_of_the_default_branch(branch: str, git_tag: str) -> None:
    for templates in (list(USUAL), MANY):
        own = set(tags(templates, branch=branch)) - {f"at-{SHA}"}
        assert not own & set(tags(templates, tag=git_tag))
        assert not own & set(tags(templates, branch="main"))
