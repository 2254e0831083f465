"""The field's rules for a GitHub bot, and where each is tried: a rule whose test is gone is noticed here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# By what each rule is about; the values are files of this folder, and tests in them.
RULES: dict[str, dict[str, list[str]]] = {
    "1 signed raw bytes, JSON or form, at most 25 MB": {
        "bot/intake/test_receiver.py": [
            "test_the_signature_is_of_the_raw_bytes",
            "test_a_signature_that_does_not_fit_is_refused_and_nothing_is_kept",
            "test_a_form_that_cannot_be_read_is_malformed",
            "test_a_payload_over_25_megabytes_is_too_large",
            "test_a_delivery_is_kept_as_it_came_before_it_is_accepted",
        ],
    },
    "2 a delivery counts once, and a cause that comes by two hooks too": {
        "bot/intake/test_receiver.py": [
            "test_a_repeated_guid_is_known_and_kept_once",
            "test_only_a_delivery_that_failed_is_processed_again_when_it_is_redelivered",
        ],
        "bot/decisions/events/test_events_told.py": ["test_the_same_cause_from_two_hooks_runs_once"],
    },
    "3 what GitHub did not deliver is fetched": {
        "bot/sweeps/test_sweeps_github.py": [
            "test_a_bot_that_was_down_builds_only_the_newest_of_three_missed_pushes",
            "test_a_missed_comment_is_redelivered_by_github",
            "test_a_plain_token_finds_the_deliveries_of_its_repository_hook",
            "test_a_delivery_is_lost_when_no_attempt_succeeded",
        ],
    },
    "4 no order is promised": {
        "bot/decisions/events/test_events_told.py": [
            "test_a_push_that_arrives_late_is_superseded_by_the_branchs_head"
        ],
    },
    "5 pushes that delete, create, force or are cut; tags of which no event tells": {
        "bot/decisions/events/test_events_told.py": [
            "test_a_branch_that_is_gone_runs_nothing",
            "test_a_forced_push_looks_at_everything",
            "test_a_push_whose_files_github_does_not_all_tell_builds_everything",
            "test_a_tag_is_built_once_with_the_tags_of_its_templates",
        ],
    },
    "6 pull requests: forks that are gone, new bases, drafts": {
        "bot/decisions/events/test_events_told.py": [
            "test_a_pull_request_whose_fork_is_gone_is_still_closed",
            "test_a_new_base_is_looked_at_and_a_new_title_is_not",
            "test_a_draft_has_a_preview_once_it_is_ready",
        ],
    },
    "7 a comment knows no head": {
        "bot/decisions/commands/test_commands_told.py": [
            "test_comments_on_issues_and_those_of_bots_do_nothing",
            "test_a_command_about_a_head_that_its_author_did_not_see_is_refused",
            "test_the_head_is_read_again_before_a_job_is_given_to_a_worker",
            "test_a_forks_commit_waits_for_an_approval_of_exactly_it_and_then_gets_nothing_secret",
        ],
        "bot/reports/test_comment.py": ["test_a_command_of_the_very_second_of_the_announcement_is_refused"],
    },
    "8 commands by CommonMark, rights by the collaborators' API": {
        "bot/decisions/commands/test_grammar_properties.py": [
            "test_a_quiet_comment_fires_nothing",
            "test_a_quoted_comment_fires_nothing",
            "test_what_is_shown_as_something_else_fires_nothing_wherever_it_stands",
        ],
        "bot/decisions/commands/test_commands_told.py": [
            "test_who_may_not_write_is_refused_and_told_what_lacks",
            "test_a_command_has_the_rights_of_who_says_it_not_of_who_said_it_first",
        ],
    },
    "9 bots are not answered": {
        "bot/decisions/commands/test_commands_told.py": [
            "test_comments_on_issues_and_those_of_bots_do_nothing"
        ],
    },
    "10 the merge queue": {
        "bot/decisions/events/test_events_told.py": [
            "test_a_merge_groups_commit_is_built_and_everything_required_is_said_of_it"
        ],
    },
    "11 repositories and installations change": {
        "bot/decisions/events/test_events_told.py": [
            "test_a_renamed_repository_goes_on_and_an_archived_one_does_nothing"
        ],
        "bot/decisions/events/test_installation.py": [
            "test_a_suspended_installation_starts_nothing_until_it_is_back",
            "test_a_repository_changes",
        ],
        "bot/github/test_client.py": ["test_a_renamed_repository_is_found_by_its_old_name"],
    },
    "12 commits that ask to be skipped": {
        "bot/decisions/events/test_events_told.py": ["test_a_commit_may_ask_to_be_skipped"],
    },
    "13 only the configured host is called": {
        "bot/github/test_client.py": [
            "test_an_absolute_url_of_another_host_is_not_asked",
            "test_a_redirect_to_another_host_is_not_followed_and_the_token_stays_here",
            "test_a_page_of_another_host_is_not_read_and_the_token_stays_here",
        ],
    },
    "14 limits of statuses and comments": {
        "bot/reports/test_rows.py": [
            "test_an_identical_report_is_not_owed_twice_whether_pending_or_sent",
            "test_contexts_that_differ_in_case_are_one_key",
        ],
        "bot/reports/test_reporter.py": ["test_what_is_gone_for_good_ends_at_once_and_the_next_is_sent"],
        "bot/reports/test_texts.py": [
            "test_a_description_fits_githubs_140_characters",
            "test_a_comment_stays_below_githubs_limit",
        ],
    },
    "15 rate limits": {
        "bot/github/test_client.py": ["test_what_passes_is_worth_another_try_after_the_right_wait"],
        "bot/reports/test_reporter.py": [
            "test_an_installations_reports_go_one_by_one_and_others_beside_them",
            "test_a_limit_pauses_the_whole_installation_and_no_other",
            "test_content_beyond_githubs_limit_waits_and_statuses_do_not",
            "test_pauses_grow_where_github_does_not_say_how_long_and_start_anew_after_a_success",
        ],
    },
    "16 a 304 is free": {
        "bot/github/test_client.py": ["test_what_has_not_changed_is_not_sent_again"],
    },
    "17 tokens, clocks and lag": {
        "bot/github/test_auth.py": [
            "test_with_a_wrong_clock_we_go_by_githubs",
            "test_a_token_is_renewed_before_it_ends",
            "test_a_token_of_any_length_will_do",
        ],
        "bot/github/test_client.py": [
            "test_a_401_says_how_far_the_clock_is_off",
            "test_a_clones_token_is_new_and_reads_this_one_repository_only",
        ],
        "bot/reports/test_reporter.py": ["test_what_may_be_lag_is_tried_again_and_then_ends_with_its_reason"],
    },
    "18 deployments": {
        "integration/test_main_job.py": [
            "test_a_pull_request_has_a_preview_and_one_comment_until_it_is_closed"
        ],
    },
    "19 headers and GitHub Enterprise": {
        "bot/github/test_client.py": ["test_every_request_says_who_asks_and_for_which_version"],
        "config/test_settings.py": ["test_github_enterprise_is_cloned_from_its_own_host"],
    },
    "20 what people wrote has no power": {
        "bot/reports/test_texts.py": [
            "test_what_people_wrote_has_no_power",
            "test_no_other_way_to_write_a_reference_is_left",
            "test_the_end_of_a_failures_log_is_fenced_and_bounded",
        ],
    },
    "gidgethub: odd requests raise": {
        "bot/intake/test_receiver.py": [
            "test_a_signature_that_does_not_fit_is_refused_and_nothing_is_kept",
            "test_without_the_headers_of_a_delivery_it_is_malformed",
            "test_a_payload_that_cannot_be_read_is_malformed",
        ],
        "bot/intake/test_fuzz_receiver.py": ["test_no_body_whatever_breaks_the_receiver_or_makes_it_grow"],
    },
    "gidgethub: SHA-1 and no signature are accepted": {
        "bot/intake/test_receiver.py": [
            "test_a_sha1_signature_counts_for_nothing_even_in_its_own_header",
            "test_a_signature_that_does_not_fit_is_refused_and_nothing_is_kept",
        ],
        "bot/web/test_setup.py": ["test_webhooks_and_readiness_wait_for_the_setup"],
    },
    "gidgethub: handlers in no order": {
        "bot/decisions/events/test_router.py": ["test_an_event_has_one_handler_or_none"],
    },
    "gidgethub: answers that it misreads": {
        "bot/github/test_client.py": [
            "test_what_passes_is_worth_another_try_after_the_right_wait",
            "test_a_page_for_people_is_no_data",
            "test_a_renamed_repository_is_found_by_its_old_name",
        ],
    },
    "gidgethub: one cache for all tokens": {
        "bot/github/test_client.py": ["test_an_answer_to_one_token_is_never_given_to_another"],
    },
    "gidgethub: any host gets the token": {
        "bot/github/test_client.py": [
            "test_an_absolute_url_of_another_host_is_not_asked",
            "test_a_page_of_another_host_is_not_read_and_the_token_stays_here",
        ],
    },
    "gidgethub: no tokens kept, none narrowed, no version": {
        "bot/github/test_client.py": [
            "test_an_apps_token_is_asked_for_once",
            "test_a_clones_token_is_new_and_reads_this_one_repository_only",
            "test_every_request_says_who_asks_and_for_which_version",
        ],
    },
}


@cache
def _tests(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_field_is_tried(rule: str) -> None:
    for file, names in RULES[rule].items():
        assert set(names) <= _tests(file), f"{file}: is without {set(names) - _tests(file)}"


def test_all_twenty_rules_and_seven_rows_are_here() -> None:
    numbers = [int(rule.split()[0]) for rule in RULES if rule[0].isdigit()]
    assert numbers == list(range(1, 21))
    assert sum(rule.startswith("gidgethub: ") for rule in RULES) == 7
