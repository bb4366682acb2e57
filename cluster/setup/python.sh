# shellcheck shell=bash
# Sourced by the scripts beside it: how to install wheels without being root.

# python3 may come without pip or without venv, and its pip may be too old for wheels of another python.
pip_serves() { "$@" --version 2>/dev/null | awk '$1 == "pip" && $2 + 0 >= 21 { good = 1 } END { exit !good }'; }

can_install_wheels() {
  pip_serves "${1:-.}/venv/bin/python" -m pip || pip_serves python3 -m pip || pip_serves pip3 ||
    python3 -c 'import venv, ensurepip' 2>/dev/null
}

# Sets the array `pip` to a pip and the words that install. Makes FOLDER/venv only where there is no other.
#   find_pip FOLDER
find_pip() {
  local venv="$1/venv/bin/python"
  if pip_serves "$venv" -m pip; then pip=("$venv" -m pip)
  elif pip_serves python3 -m pip; then pip=(python3 -m pip)
  elif pip_serves pip3; then pip=(pip3)
  elif python3 -m venv --clear "$1/venv" && "$venv" -m pip --version >/dev/null; then
    # An old python brings an old pip.
    pip_serves "$venv" -m pip || "$venv" -m pip install --quiet --upgrade pip
    pip=("$venv" -m pip)
  else
    echo "no pip of version 21 or newer, and python3 cannot make a virtual environment: install python3-venv" >&2
    exit 2
  fi
  export PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
  pip+=(install --quiet --disable-pip-version-check)
}
