# Shared by scripts/demo, scripts/test and .ci/run: makes .venv from the lock files. Source it; it needs bash and python3.
#
#   ensure_environment runtime|test    .venv with the locked packages and the project itself; `test` holds `runtime` too
#   install_packages PACKAGE...        Debian packages, when apt-get and root are there
#
# PYTHON names another interpreter than python3. What pip and apt-get read from the environment is left as it is.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/parsegate-setup
program=${program:-scripts/$(basename "$0")}

say() { echo "$program: $*" >&2; }
fail() { say "$*"; exit 1; }

# A signal ends the script once the command at hand is done: apt-get must not be left half-way.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Run a command that a signal to the script ends at once, with all that it started.
ended_by_signals() {
  local child status=0
  set -m # a process group of its own
  "$@" </dev/null &
  child=$!
  set +m
  trap 'kill -- "-$child" 2>/dev/null' EXIT
  wait "$child" || status=$?
  trap - EXIT
  return "$status"
}

# --- Python

# What tells one installation of Python from another.
interpreter_identity() { "$1" -I -S -c 'import sys; print(sys.version.replace("\n", " "), sys.base_prefix)' 2>/dev/null; }

find_python() {
  local wished=${PYTHON:-python3} answer
  command -v "$wished" >/dev/null || fail "$wished is missing; install it with: apt-get install python3 python3-venv"
  answer=$("$wished" -I -S -c '
import sys
print("%d.%d" % sys.version_info[:2], int(sys.version_info >= (3, 11)), getattr(sys, "_base_executable", "") or sys.executable)
') || fail "$wished does not run"
  read -r python_version new_enough python <<<"$answer"
  [ "$new_enough" = 1 ] || fail "Python 3.11 or newer is needed, and $wished is $python_version; name a newer one with PYTHON=python3.12 $program"
  python_identity=$(interpreter_identity "$python") || fail "$python does not run"
}

# A virtual environment needs the module ensurepip, which Debian keeps in a package of its own.
has_ensurepip() { "$python" -I -c 'import ensurepip, venv' 2>/dev/null; }

ensurepip_package() {
  case "$(basename "${PYTHON:-python3}")" in
    python3.*) echo "python$python_version-venv" ;;
    *) echo python3-venv ;;
  esac
}

ensure_ensurepip() {
  has_ensurepip && return
  install_packages "$(ensurepip_package)"
  has_ensurepip || fail "$python has no ensurepip, although $(ensurepip_package) is installed"
}

# --- Debian's packages

install_packages() {
  local verb=is them=it log seconds=$SECONDS
  [ $# = 1 ] || { verb=are; them=them; }
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "$(join ", " "$@") $verb missing; install $them with: apt-get install $*"
  fi
  say "$(join ", " "$@") $verb missing: installing $them with apt-get (about a minute)"
  log=$(mktemp)
  if ! { has_package_lists && apt_get install "$@" >"$log" 2>&1; }; then
    { apt_get update && apt_get install "$@"; } >"$log" 2>&1 || {
      local complaint; complaint=$(last_complaint '^E:' "$log"); rm -f "$log"
      fail "apt-get could not install $*: $complaint"
    }
  fi
  rm -f "$log"
  say "installed $* in $((SECONDS - seconds)) s"
}

apt_get() {
  local command=$1; shift
  local options=(-qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  [ "$command" = update ] || options+=(--no-install-recommends)
  # Not the terminal's and not the lock's: a package's own scripts must neither ask nor hold on to anything.
  DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$command" "$@" </dev/null 9<&-
}

has_package_lists() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }

join() {
  local separator=$1 first=$2 word; shift 2
  printf %s "$first"
  for word in "$@"; do printf '%s%s' "$separator" "$word"; done
}

# The last line of a log that matches, or else the last line.
last_complaint() { { grep -E "$1" "$2" || cat "$2"; } | tail -n 1; }

# --- The environment

digest() { cat "$@" | sha256sum | cut -c 1-32; }

# What .venv must be like: the place and the interpreter, the lock and the project. One line each, first the level.
wanted_setup() { # LEVEL
  printf '%s\n' "$1" "$root" "$python_identity" "$(digest "$root/requirements/$1.txt")" "$(digest "$root/pyproject.toml")"
}

is_set_up() { # LEVEL
  [ -f "$stamp" ] || return 1
  local found; found=$(<"$stamp")
  [ "$found" = "$(wanted_setup test)" ] || { [ "$1" = runtime ] && [ "$found" = "$(wanted_setup runtime)" ]; } || return 1
  [ -x "$venv/bin/parsegate" ] && [ "$(interpreter_identity "$venv/bin/python")" = "$python_identity" ]
}

# Whether .venv, whoever made it, can be built upon: whole, of this interpreter, and not moved here from elsewhere.
is_usable() {
  [ ! -e "$venv/unfinished" ] && [ "$(interpreter_identity "$venv/bin/python")" = "$python_identity" ] || return 1
  local interpreter=
  [ -f "$venv/bin/pip" ] && read -r interpreter <"$venv/bin/pip"
  case "$interpreter" in "#!$venv/bin/"*) ;; *) return 1 ;; esac
  "$venv/bin/python" -I -m pip --version >/dev/null 2>&1
}

make_venv() {
  if [ -e "$venv" ] || [ -L "$venv" ]; then
    say "making .venv anew: it was half made, moved or made by another Python"
    # What was killed a moment ago may still be writing.
    rm -rf "$venv" 2>/dev/null || { sleep 2; rm -rf "$venv"; }
  else
    say "making .venv with Python $python_version"
  fi
  mkdir -p "$venv"
  : >"$venv/unfinished"
  ended_by_signals "$python" -m venv "$venv" >"$venv/pip.log" 2>&1 || fail "could not make .venv: $(tail -n 1 "$venv/pip.log")"
}

pip_install() {
  ended_by_signals "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >>"$venv/pip.log" 2>&1 && return
  local hint=
  rm -f "$venv/unfinished" # pip gave up in good order: what was there still is
  grep -q 'connection broken' "$venv/pip.log" && hint=', the network could not be reached'
  fail "packages could not be installed$hint: $(last_complaint '^ERROR' "$venv/pip.log")"
}

install_lock() { # LEVEL
  local lock=$root/requirements/$1.txt seconds=$SECONDS
  say "installing $(grep -c '^[a-z0-9].*==' "$lock") packages from requirements/$1.txt (about a minute)"
  : >"$venv/pip.log"
  pip_install --require-hashes -r "$lock"
  # Skipped when only the lock has changed: another process may be running from here.
  if [ ! -x "$venv/bin/parsegate" ] || [ "$2" != "$(digest "$root/pyproject.toml")" ]; then
    pip_install --no-deps --no-build-isolation -e "$root"
  fi
  say "installed in $((SECONDS - seconds)) s"
}

# Wait until no other script holds this file, and hold it. Python locks descriptor 9 and bash keeps it, so that the lock
# ends with the script at the latest.
take_turn() { # FILE
  local lock='import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))'
  exec 9<"$1"
  "$python" -I -S -c "$lock" 4 2>/dev/null && return
  say "waiting for another script that is installing"
  "$python" -I -S -c "$lock" 0
}

end_turn() { exec 9<&-; }

ensure_environment() { # LEVEL
  local level=$1 project=
  find_python
  is_set_up "$level" && return
  [ -w "$root" ] || fail "$root can't be written to; make a copy of the checkout that is yours"
  take_turn "$root/pyproject.toml"
  if ! is_set_up "$level"; then
    ensure_ensurepip
    if [ -f "$stamp" ]; then
      [ "$(head -n 1 "$stamp")" = test ] && level=test
      [ "$(sed -n 2p "$stamp")" = "$root" ] || : >"$venv/unfinished"
      project=$(tail -n 1 "$stamp")
    fi
    rm -f "$stamp"
    is_usable || make_venv
    : >"$venv/unfinished"
    install_lock "$level" "$project"
    rm -f "$venv/unfinished"
    wanted_setup "$level" >"$stamp"
  fi
  end_turn
}
