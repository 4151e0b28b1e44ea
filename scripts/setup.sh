#!/bin/sh
# Makes .venv with the first Python >= 3.11 found and installs flowrl with its tools into it.
#
#   sh scripts/setup.sh              look for a Python
#   PYTHON=python3.12 sh scripts/setup.sh    use this one
#
# Run it in the repository root; `make setup` does, and only when something changed.
set -eu

venv=.venv
log=$venv/setup.log

fail() {
    echo "error: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Debian splits venv's other half off into a package of its own.
can_make_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python python3.13 python3.12 python3.11 python3.14
    fi
    seen=
    for candidate in "$@"; do
        found=$(version_of "$candidate") || continue
        if ! is_new_enough "$candidate"; then
            seen="$seen${seen:+, }$candidate is $found"
        elif ! can_make_venv "$candidate"; then
            seen="$seen${seen:+, }$candidate $found lacks venv (Debian, Ubuntu: apt install python3-venv)"
        else
            python=$candidate
            return
        fi
    done
    fail "flowrl needs Python 3.11 or newer: ${seen:-none of \"$*\" runs}." \
        "Install one, or name one: make setup PYTHON=/path/to/python3.12"
}

pip_install() {
    # Both names: pip reads the second for what it builds from source, older ones the first for everything.
    if ! PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$venv/bin/python" -m pip install "$@" >>"$log" 2>&1; then
        reason=$(grep -i '^ *error' "$log" | tail -n 1 | sed 's/^ *[Ee][Rr][Rr][Oo][Rr]: *//')
        fail "the installation failed${reason:+: $reason}; all that pip said is in $log"
    fi
}

if ! { [ -x "$venv/bin/python" ] && is_new_enough "$venv/bin/python"; }; then
    find_python
    echo "Making $venv with $python ($(version_of "$python"))"
    reason=$("$python" -m venv --clear "$venv" 2>&1) ||
        fail "$python cannot make $venv: $(echo "$reason" | tail -n 1)"
fi
: >"$log"
echo "Installing flowrl and what it needs into $venv: a few minutes the first time (log: $log)"
pip_install --upgrade pip
pip_install -e ".[dev]"
