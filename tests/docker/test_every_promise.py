"""Which test shows which promise of the Docker face: one with the stock command line and one with docker-py for each. One that is renamed is
missed here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "cloud"
_PY = "test_docker_py:"
_MADE, _LIFE, _OUTPUT, _EXEC, _FILES, _IMAGES, _NETS, _VERSIONS = (
    f"{_PY}test_{name}"
    for name in (
        "a_container_has_what_it_was_made_with",
        "a_container_is_led_through_its_life",
        "output_is_read_followed_and_attached_to",
        "programs_run_beside_it",
        "its_files_are_copied_told_committed_and_exported",
        "images_are_saved_loaded_imported_and_pruned",
        "networks_and_volumes",
        "versions_of_the_api_are_spoken",
    )
)
_WEB = f"{_PY}test_a_published_port_and_a_health_check"
_REGISTRY = "test_docker_registries:test_docker_py_logs_in_pushes_and_pulls"
PROMISES = {
    "the seed commands": ("test_docker_run:test_the_seed_commands", _MADE),
    "published ports": ("test_docker_run:test_ports_are_published_on_the_addresses_that_are_named", _WEB),
    "env, entrypoint, user, workdir, hostname": (
        "test_docker_run:test_exec_runs_beside_the_program_with_its_own_code",
        _MADE,
    ),
    "volumes and bind mounts": (
        "test_docker_lives:test_files_of_the_host_belong_inside_to_whom_they_belong_outside",
        _MADE,
    ),
    "tmpfs, ulimits, extra hosts, init": ("test_docker_options:test_what_is_given_to_a_program_is_there", _MADE),
    "limits": ("test_docker_lives:test_limits_and_options_reach_the_program", _MADE),
    "capabilities, privileged, devices": ("test_docker_more:test_power_is_given_where_it_is_asked_for_only", _MADE),
    "restart policies": ("test_docker_lives:test_a_restart_policy_works_without_the_daemon", _MADE),
    "health checks": ("test_docker_more:test_health_is_looked_at_and_told", _WEB),
    "log options": ("test_docker_options:test_a_log_may_be_bounded_or_nobodys", _MADE),
    "start, stop, kill, restart, wait, remove": (
        "test_docker_run:test_a_container_is_stopped_started_and_removed",
        _LIFE,
    ),
    "pause, rename, update": ("test_docker_more:test_figures_and_processes", _LIFE),
    "top, stats": ("test_docker_more:test_figures_and_processes", _LIFE),
    "events": ("test_docker_lives:test_events_tell_the_life_of_a_container", _LIFE),
    "logs: follow, since, tail, timestamps": (
        "test_docker_lives:test_logs_have_no_gap_over_the_death_of_the_daemon",
        _OUTPUT,
    ),
    "attach": ("test_docker_more:test_an_attached_client_sends_and_hears", _OUTPUT),
    "exec, a terminal and its size": ("test_docker_lives:test_a_terminal_has_its_size_and_takes_keys", _EXEC),
    "cp, diff": ("test_docker_more:test_files_are_copied_in_and_out_and_told_as_changes", _FILES),
    "commit, export": ("test_docker_more:test_a_commit_is_an_image_of_what_was_written", _FILES),
    "push, pull, login": ("test_docker_registries:test_an_image_is_pushed_and_pulled_by_tag_and_by_digest", _REGISTRY),
    "index, zstd, resumed pulls": (
        "test_docker_registries:test_an_index_of_several_machines_with_zstd_layers_over_a_connection_that_is_cut",
        _REGISTRY,
    ),
    "load, save, import, tag, rmi, history": (
        "test_docker_more:test_images_go_out_and_come_back",
        _IMAGES,
    ),
    "build is refused": ("test_docker_more:test_what_the_engine_has_and_gureum_has_not", _IMAGES),
    "networks, names, aliases, connect": (
        "test_docker_lives:test_containers_of_a_network_find_each_other_by_name",
        _NETS,
    ),
    "host, none, internal": ("test_docker_more:test_what_nobody_uses_is_pruned", _NETS),
    "named volumes, copy-up": (
        "test_docker_lives:test_a_volume_takes_what_the_image_has_and_outlives_containers",
        _NETS,
    ),
    "compose": ("test_docker_compose:test_compose_2_brings_up_scales_and_takes_down", _VERSIONS),
    "versions of the API": ("test_docker_more:test_the_whole_tells_of_itself", _VERSIONS),
    "errors": ("test_docker_more:test_filters_that_there_are_not_are_refused", _LIFE),
    "prune": ("test_docker_more:test_what_nobody_uses_is_pruned", _NETS),
    "info, df, version, ping": ("test_docker_more:test_the_whole_tells_of_itself", _VERSIONS),
}


def _tests(module: str) -> set[str]:
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_shown_by_both_clients(promise: str) -> None:
    for name in PROMISES[promise]:
        module, _, test = name.partition(":")
        assert test in _tests(module)
