#!/usr/bin/env bash
# The wheel as a user installs it: both commands start in an empty folder, and the data that they read came along.
#
#     tests/smoke_wheel.sh [PYTHON]
#
# PYTHON (.venv/bin/python) lends its installed dependencies; nothing is downloaded. The build is made from a copy, so
# that files of an earlier build do not get into the wheel.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks "${1:-.venv/bin/python}")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
unset PYTHONPATH

mkdir "$place/source" "$place/empty"
cp -r forecast training pyproject.toml README.md "$place/source"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$place" \
    "$place/source"
"$python" -m venv --without-pip "$place/venv"
installed=$("$place/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip --python "$place/venv/bin/python" install --quiet --disable-pip-version-check --no-deps --no-index \
    "$place"/*.whl
# A plain line in a .pth file comes after the wheel on sys.path, and the .pth of the editable install is not read there.
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$installed/dependencies.pth"

cd "$place/empty"
export FORECAST_CACHE="$place/jax"
"$place/venv/bin/python" - "$installed" <<'CHECK'
import sys
from importlib.resources import files
from pathlib import Path

import forecast
import training

for package in (forecast, training):
    assert Path(package.__file__).is_relative_to(sys.argv[1]), f"{package.__file__} is not the wheel's"
    assert files(package).joinpath("py.typed").is_file(), package
backtests = ("sha256", "forecasts.csv.gz", "choices.csv.gz", "paths.csv.gz", "refusals.csv.gz")
needed = ["report/page.html.j2"]
for table in forecast.datasets():
    needed += [f"published/{table}.csv", f"published/{table}.toml"]
for table in ("atari-cnn", "nethack-transformer"):
    needed += [f"published/backtests/{table}/{name}" for name in backtests]
for name in needed:
    assert files(forecast).joinpath(name).is_file(), f"forecast/{name} is not in the wheel"
for name in ("policy.safetensors", "run.toml", "state.json", "card.json"):
    for game in ("breakout", "pong"):
        assert files(training).joinpath("record/shipped", game, name).is_file(), f"{name} of a player is missing"
CHECK
"$place/venv/bin/forecast" datasets > datasets.txt
grep --quiet nethack-transformer datasets.txt
"$place/venv/bin/forecast" --help > /dev/null
"$place/venv/bin/training" --help > /dev/null
"$place/venv/bin/training" bc --help > /dev/null
echo "The installed wheel starts, and its data is there."
