#!/bin/sh
# Makes .venv ready to run or to test napari-unet, doing only what is not done yet.
#
#   scripts/setup.sh run    the package, its command line and the demo
#   scripts/setup.sh gui    as well napari and the system libraries of its window
#   scripts/setup.sh test   as well the test and lint tools
#
# PYTHON=/path/to/python chooses the interpreter that .venv is made from.
set -eu

kind=${1:-test}
torch_version=2.13.0
cpu_index=https://download.pytorch.org/whl/cpu
system_packages="xvfb xauth libglib2.0-0 libegl1 libgl1 libgl1-mesa-dri libfontconfig1 libdbus-1-3 libxkbcommon-x11-0
    libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-image0 libxcb-render-util0 libxcb-xinerama0"

case $kind in
    run) extras="" ;;
    gui) extras="[all]" ;;
    test) extras="[test]" ;;
    *) echo "usage: scripts/setup.sh run|gui|test" >&2; exit 2 ;;
esac

cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "==> $*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

# The newest set-up of this kind or of one that contains it is still good if nothing that it depends on has changed.
fingerprint() { { cat pyproject.toml constraints.txt scripts/setup.sh; pwd; } | cksum; }
stamp() { echo ".venv/.napari-unet-$1"; }
is_fresh() { [ -f "$(stamp "$1")" ] && [ "$(cat "$(stamp "$1")")" = "$now" ]; }
is_ready() {
    [ -x .venv/bin/python ] || return 1
    case $kind in
        run) is_fresh run || is_fresh gui || is_fresh test ;;
        gui) is_fresh gui || is_fresh test ;;
        test) is_fresh test ;;
    esac
}

# ---- system libraries ----------------------------------------------------------------------------------------------

apt_install() {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

missing_debian_packages() {
    for package in $system_packages; do
        # Ubuntu 24.04 and later add t64 to the names of some libraries.
        dpkg -s "$package" >/dev/null 2>&1 || dpkg -s "${package}t64" >/dev/null 2>&1 || printf '%s ' "$package"
    done
}

install_system_packages() {
    [ "$(uname -s)" = Linux ] || return 0
    if has dpkg && has apt-get; then
        missing=$(missing_debian_packages)
        [ -n "$missing" ] || return 0
        # shellcheck disable=SC2086 # one argument for each package
        if is_root; then
            say "Installing the system libraries that napari's window needs: $missing"
            apt_install $missing
        else
            say "napari's window needs system libraries that are missing. Install them with:"
            echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
        fi
    elif ! has Xvfb; then
        say "The tests of the window need Xvfb and Qt's system libraries. If they are missing, install them with:"
        if has dnf; then
            echo "    sudo dnf install xorg-x11-server-Xvfb xorg-x11-xauth mesa-libEGL mesa-libGL mesa-dri-drivers fontconfig" \
                "dbus-libs libxkbcommon-x11 xcb-util-cursor xcb-util-wm xcb-util-keysyms xcb-util-image xcb-util-renderutil"
        elif has pacman; then
            echo "    sudo pacman -S --needed xorg-server-xvfb xorg-xauth mesa libglvnd fontconfig dbus libxkbcommon-x11" \
                "xcb-util-cursor xcb-util-wm xcb-util-keysyms xcb-util-image xcb-util-renderutil"
        else
            echo "    the packages of your system that hold the same as Debian's:" $system_packages
        fi
    fi
}

# ---- Python --------------------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

make_environment() {
    if [ -x .venv/bin/python ] && is_new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    python=$(find_python) || fail "napari-unet needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python make test"
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        if has apt-get && is_root; then
            say "Installing $version-venv, with which Python makes virtual environments"
            apt_install "$version-venv"
        elif has apt-get; then
            fail "$version can't make virtual environments yet; run: sudo apt-get install -y $version-venv"
        else
            fail "$version can't make virtual environments: its modules venv and ensurepip are missing; install them."
        fi
    fi
    say "Making the virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
}

# Quiet but for errors: pip's hundreds of lines say nothing that a person needs.
pip_install() { .venv/bin/python -m pip install -qq -c constraints.txt "$@"; }
can_choose_build() { [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] && ! has_gpu; }
pip_would_install() { .venv/bin/python -m pip install --dry-run --no-deps "$1" 2>/dev/null | grep 'Would install' || true; }

has_gpu() { [ -e /dev/nvidia0 ] || [ -e /dev/dxg ] || [ -e /proc/driver/nvidia/version ]; }

# On Linux the default build of PyTorch brings several GB for CUDA. Without a GPU the build for CPUs serves better; where
# pip would take it anyway, it is left to pip.
install_torch() {
    case $(.venv/bin/python -m pip list --format=freeze 2>/dev/null | grep '^torch==') in
        torch==$torch_version | torch==$torch_version+*) return 0 ;;
    esac
    say "Installing PyTorch $torch_version; this can take a few minutes"
    if can_choose_build; then
        case $(pip_would_install "torch==$torch_version") in
            *"torch-$torch_version+"*) ;;
            *) pip_install "torch==$torch_version" --extra-index-url "$cpu_index" && return 0 ;;
        esac
    fi
    pip_install "torch==$torch_version"
}

# --------------------------------------------------------------------------------------------------------------------

now=$(fingerprint)
if is_ready; then
    exit 0
fi
[ "$kind" = run ] || install_system_packages
make_environment
install_torch
say "Installing napari-unet$extras and the tested versions of what it needs; this can take a few minutes"
pip_install hatchling editables
pip_install --no-build-isolation -e ".$extras" "torch==$torch_version"
echo "$now" >"$(stamp "$kind")"
say "Ready: .venv/bin/napari-unet --help"
