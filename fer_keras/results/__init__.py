"""Recorded runs and tables, and what follows from them: numbers, DataFrames and `Comparison`s; Keras is not needed."""

# A line a name would be sixty lines.
# ruff: noqa: F401, I001
# fmt: off
from fer_keras.results.comparisons import (
    HUMAN_ACCURACY, calibration_table, compare_runs, comparison_table, confusion_pairs, level_table, majority_level,
    rate_falls, seed_table,
)
from fer_keras.results.leaderboard import accuracy_table, as_csv, leaderboard, row_name, starts_from, with_interval
from fer_keras.results.runs import (
    HISTORY_COLUMNS, Predictions, Run, as_published, comparable_fields, find_own_run, find_run, find_seeds, find_table,
    identity, is_final, network_path, read_run, read_runs, read_table, run_folder, run_id, write_run,
    write_table,
)
from fer_keras.results.studies import (
    agreement_table, combine, crowd_table, deletion_table, ensemble_members, grid, grid_means, label_error_groups,
    label_error_matrix, label_error_table, majority_baseline, one_vs_rest, peer_table, precision_gains, search_table,
    transfer_study,
)
