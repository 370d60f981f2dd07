# dcfm_ros with one command each, on a machine that has make and Python 3.10 to 3.14.

# Own input for the demo: make demo VIDEO=drive.mp4, BAG=folder of a rosbag2, IMAGES=folder.
VIDEO ?=
BAG ?=
IMAGES ?=
# Topics of a bag that has several, and what is known to be true: PNG masks or a mask topic.
TOPIC ?=
LABELS ?=
LABEL_TOPIC ?=
OUT ?= out/demo
# The interpreter to build .venv with; empty: the first of python3.12, 3.11, 3.10,
# 3.13, 3.14 and python3 that is there.
PYTHON ?=
export VIDEO BAG IMAGES TOPIC LABELS LABEL_TOPIC OUT PYTHON

# Demo and tests talk to this machine only.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
# Threads that wait for work sleep: spinning ones make a busy machine several times slower.
export OMP_WAIT_POLICY ?= PASSIVE
# .venv brings its own ROS. Whatever this shell has sourced or set for another one stays out of it.
unexport PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport RMW_IMPLEMENTATION ROS_DISCOVERY_SERVER ROS_STATIC_PEERS ROS_LOCALHOST_ONLY
unexport CYCLONEDDS_URI FASTDDS_DEFAULT_PROFILES_FILE FASTRTPS_DEFAULT_PROFILES_FILE
ifneq ($(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH
endif

# A leg is an environment .venv-NAME with the packages of test/legs/NAME.txt; the rest is that of .venv. The leg of
# .venv itself is jazzy.
LEGS := kilted opencv46
# What ROS, OpenCV and NumPy have a say in.
LEG_TESTS := $(addprefix test/,cloud ground images keyframes launch masks node play recordings replay ros synthetic) \
    $(addprefix test/,test_engine.py test_golden_masks.py benchmark/test_transport.py) \
    $(addprefix test/repo/,test_leg.py test_readme_client.py)
# A file stays with one worker, for its fixtures, and test/conftest.py puts the long files first.
pytest = DCFM_LEG=$(or $*,jazzy) OMP_NUM_THREADS=1 .venv$(addprefix -,$*)/bin/python .venv/bin/pytest \
    -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
pip := -m pip --disable-pip-version-check -qq
PIP := .venv/bin/python $(pip)

.ONESHELL:
.SHELLFLAGS := -ec
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo quick test test-kilted test-opencv46 check format clean

help:
	@echo 'make demo     watch the ROS node segment a drive; results in $(OUT)'
	echo '              own input: VIDEO=file, BAG=folder or IMAGES=folder'
	echo 'make quick    run the quick tests: no ROS processes, builds, trainings'
	echo 'make test     run all tests, ruff and mypy'
	echo 'make test-kilted     run the tests that ROS has a say in on Kilted, with Fast DDS 3'
	echo 'make test-opencv46   run those of ROS and images with OpenCV 4.6 and NumPy 1.26, as on Ubuntu 24.04'
	echo 'make check    ruff and mypy only'
	echo 'make format   format the code'
	echo 'make clean    remove .venv, results and everything built'

demo: .venv/demo.installed
	@.venv/bin/dcfm demo --output "$$OUT" $${VIDEO:+--video "$$VIDEO"} \
	    $${BAG:+--bag "$$BAG"} $${IMAGES:+--images "$$IMAGES"} $${TOPIC:+--topic "$$TOPIC"} \
	    $${LABELS:+--labels "$$LABELS"} $${LABEL_TOPIC:+--label-topic "$$LABEL_TOPIC"}

quick: .venv/test.installed
	@$(pytest) -m 'not (dds or build or train or slow)' test

test: .venv/test.installed
	@status=0
	$(pytest) test || status=1
	$(MAKE) --no-print-directory check || status=1
	exit $$status

$(LEGS:%=test-%): test-%: .venv-%/installed
	@$(pytest) $(LEG_TESTS)

check: .venv/test.installed
	@status=0
	.venv/bin/ruff check . || status=1
	.venv/bin/ruff format --check . || status=1
	.venv/bin/mypy || status=1
	exit $$status

format: .venv/test.installed
	@.venv/bin/ruff check --fix --exit-zero --quiet .
	.venv/bin/ruff format .

clean:
	@rm -rf .venv .venv-* build install log dist out dcfm_ros.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an install that broke off halfway is taken up again.
.venv/demo.installed: size := 250 MB to download and 900 MB
.venv/demo.installed: setup.py constraints.txt test/legs/jazzy.txt $(wildcard locks/demo-*.txt)
	@$(create_venv)
	$(install_locked)
	touch $@

.venv/test.installed: extras := ros,quantise,train,pretrained,cluster,test,dev
.venv/test.installed: size := 3 GB to download and 6 GB
.venv/test.installed: setup.py constraints.txt test/legs/jazzy.txt
	@$(create_venv)
	$(install)
	touch .venv/demo.installed $@

# setuptools comes first and builds the package without isolation: a build environment of its own
# would fetch whatever setuptools is newest, which no constraints file reaches.
define install
echo 'Installing into .venv: about $(size) on disk the first time ...'
$(PIP) install -c constraints.txt pip setuptools
$(PIP) install -c constraints.txt -c test/legs/jazzy.txt --no-build-isolation -e '.[$(extras)]'
endef

# The packages of .venv come last on the path, and the libraries of ROS from the leg alone: its wheels
# look for them below the environment that runs.
$(LEGS:%=.venv-%/installed): .venv-%/installed: test/legs/%.txt .venv/test.installed
	@echo 'Installing into .venv-$*: about 100 MB to download the first time ...'
	rm -rf .venv-$*
	.venv/bin/python -m venv --without-pip .venv-$*
	packages='import sysconfig; print(sysconfig.get_path("purelib"))'
	.venv/bin/python -c "$$packages" > "$$(.venv-$*/bin/python -c "$$packages")/base.pth"
	set -- .venv-$*/bin/python $(pip) install --ignore-installed --no-deps
	"$$@" --only-binary :all: -r $<
	"$$@" --no-build-isolation -e .
	touch $@

# Only files with the hashes in locks/, which .ci/lock writes.
define install_locked
lock=locks/demo-$$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
echo 'Installing into .venv: about $(size) on disk the first time ...'
grep -E '^(pip|setuptools)==' "$$lock" >.venv/first.txt
$(PIP) install --require-hashes -r .venv/first.txt
$(PIP) install --require-hashes --no-build-isolation -r "$$lock"
$(PIP) install --no-deps --no-build-isolation -e .
endef

define create_venv
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  platform=$$(uname -s -m)
  if [ "$$platform" != 'Linux x86_64' ]; then
    echo "The ROS packages that this command installs from PyPI exist for Linux on x86_64 only, and" \
      "this is $$platform. Install ROS 2 and build dcfm_ros with colcon: see README.md." >&2
    exit 1
  fi
  if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else
    set -- python3.12 python3.11 python3.10 python3.13 python3.14 python3
  fi
  found= incomplete=
  for python; do
    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $$version in 3.10 | 3.11 | 3.12 | 3.13 | 3.14) ;; *) continue ;; esac
    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi
    incomplete=$${incomplete:-$$version}
  done
  if [ -z "$$found" ] && [ -n "$$incomplete" ]; then
    echo "Python $$incomplete is here, but it cannot create a virtual environment: its venv module is" \
      "incomplete (no ensurepip). On Debian and Ubuntu: sudo apt install python$$incomplete-venv." \
      "Then run make again." >&2
    exit 1
  fi
  if [ -z "$$found" ]; then
    echo "dcfm_ros needs Python 3.10 to 3.14 and found none of them under: $$*." \
      "Install one (Debian 12, Ubuntu 22.04 and 24.04: sudo apt install python3 python3-venv)" \
      "or name yours: make ... PYTHON=/path/to/python3.12" >&2
    exit 1
  fi
  rm -rf .venv
  "$$found" -m venv .venv
fi
endef
