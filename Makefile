# Everything starts here: each target does its own set-up under build/ and says what it lacks.

# The interpreter of build/venv; the debian-* lanes of the tests always use /usr/bin/python3.
PYTHON ?= python3
# make run: the configuration, relative paths in it are relative to this folder
CONFIG ?= etc/kestrel/development.conf
# make test: a choice, for example LANES=pypi-pure SUITES="unit wire" TESTS=test_imports
LANES ?=
SUITES ?=
TESTS ?=
# make install: below DESTDIR, for packages; the commands run with PYTHON
DESTDIR ?=
prefix ?= /usr/local
# make bench: words for test/bench/bench.py
BENCH ?=
# make loadtest: the server to drive, by default one of its own
HOST ?=
PORT ?= 22133
THRIFT_PORT ?= 2229
# make soak: how long, in minutes
MINUTES ?= 20
# make bench BASE=<commit>: this build in pairs with that of another commit, rows of speed only
BASE ?=

VENV := build/venv
VENV_KEY := $(shell (cat .ci/requirements; $(PYTHON) -c 'import sys; print(sys.version, sys.base_prefix)') \
                    2>/dev/null | cksum | cut -d' ' -f1)
VENV_STAMP := $(VENV)/complete-$(VENV_KEY)

# A tree holds the whole package, compiled where that is possible; nothing is compiled beside the sources.
TREE := build/tree-pypi/lib
make_tree = $(1) setup.py -q build --parallel=2 --build-base=build/tree-$(2) --build-lib=build/tree-$(2)/lib \
            2>build/tree-$(2).log || { cat build/tree-$(2).log >&2; exit 1; }

.PHONY: help run test test-rest test-long test-package bench profile soak loadtest build deb deb-src install thrift clean \
        venv tree-pypi tree-debian base-tree

help:
	@echo "make run        start the server in the foreground, with $(CONFIG)"
	@echo "make test       all tests, compiled on PyPI's libraries and pure on Debian's (about 7 minutes);"
	@echo '                a part of them: make test LANES=pypi-pure SUITES="unit wire" TESTS=test_imports'
	@echo "make test-rest  the other way round, and what make test runs in one of them only (about 10 minutes)"
	@echo "make test-long  everything in all four, with many more rounds of kill -9"
	@echo "make bench      speed and size, against memcached, redis and beanstalkd;"
	@echo "                two builds, in pairs: make bench BASE=<commit>"
	@echo "make profile    flame graphs of the server in build/bench/, by py-spy"
	@echo "make soak       does a server that does everything at once stay as it is (MINUTES=$(MINUTES)), and lose nothing?"
	@echo "make loadtest   the five load programs, beside the figures of Kestrel 2.4 (two minutes);"
	@echo '                a server that runs already: make loadtest HOST=... PORT=$(PORT) THRIFT_PORT=$(THRIFT_PORT)'
	@echo "make build      compile kestrel into $(TREE)"
	@echo "make deb        the Debian package for this release: kestrel.deb"
	@echo "make deb-src    its source package: build/deb-src"
	@echo "make test-package  builds it, boots it in a container, upgrades and purges it (root; about 15 minutes)"
	@echo "make install    without a package: DESTDIR=$(DESTDIR) prefix=$(prefix)"
	@echo "make thrift     make kestrel/thrift_gen from kestrel/kestrel.thrift"
	@echo "make clean      remove build/, and with it the development spool"

run: tree-pypi
	@mkdir -p build/run
	exec env PYTHONPATH=$(TREE) $(VENV)/bin/python -P -m kestrel -f $(CONFIG)

test test-rest test-long:
	@$(PYTHON) test/run.py $(patsubst test%,-%,$(filter-out test,$@)) \
	    $(if $(strip $(LANES)),--lanes="$(LANES)") $(if $(strip $(SUITES)),--suites="$(SUITES)") $(TESTS)

test-package:
	@/usr/bin/python3 test/package/run.py

bench: tree-pypi
	@if [ -n '$(BASE)' ]; then $(MAKE) --no-print-directory base-tree; fi
	$(VENV)/bin/python test/bench/bench.py $$(find $(TREE) -name '*.so' -printf '--compiled $(TREE)' -quit) \
	    $(if $(BASE),--base build/base/lib) $(BENCH)

# The package of BASE, built by the same interpreter and with the same libraries: only kestrel differs. Not a worktree,
# which git would remember after make clean. build/base is a link to the commit's folder.
base-tree: venv
	@git rev-parse --quiet --verify '$(BASE)^{commit}' >/dev/null || \
	    { echo "BASE=$(BASE): git knows no such commit" >&2; exit 2; }
	@set -e; commit=$$(git rev-parse '$(BASE)^{commit}'); folder=build/base-$$commit; \
	if [ ! -e $$folder/complete ]; then \
	    echo "building $$commit in $$folder" >&2; rm -rf $$folder; mkdir -p $$folder; \
	    git archive $$commit | tar -x -C $$folder; \
	    (cd $$folder && $(abspath $(VENV))/bin/python setup.py -q build --parallel=2 --build-base=build \
	        --build-lib=lib 2>build.log) || { cat $$folder/build.log >&2; exit 1; }; \
	    touch $$folder/complete; \
	fi; ln -sfn base-$$commit build/base

# py-spy has a venv of its own: the tests and the server need nothing of it.
profile: tree-pypi build/py-spy/bin/py-spy
	@$(VENV)/bin/python test/bench/flame.py $(TREE) --spy build/py-spy/bin/py-spy

build/py-spy/bin/py-spy:
	@$(PYTHON) -m venv build/py-spy
	@build/py-spy/bin/python -m pip install --quiet --disable-pip-version-check py-spy

soak: tree-pypi
	@$(VENV)/bin/python test/bench/soak.py $(TREE) --minutes '$(MINUTES)'

loadtest: tree-pypi
	@$(VENV)/bin/python test/bench/loadtest.py --tree $(TREE) \
	    $(if $(HOST),--host '$(HOST)' --port '$(PORT)' --thrift-port '$(THRIFT_PORT)')

build: tree-pypi

deb:
	@rm -rf build/deb && mkdir -p build
	@debian/make-deb binary build/deb >build/deb.log 2>&1 || { cat build/deb.log >&2; exit 1; }
	@cp build/deb/kestrel_*.deb kestrel.deb
	@echo "kestrel.deb: to install it, apt install ./kestrel.deb"

deb-src:
	@rm -rf build/deb-src && mkdir -p build
	@debian/make-deb source build/deb-src >build/deb-src.log 2>&1 || { cat build/deb-src.log >&2; exit 1; }
	@ls build/deb-src/*.dsc

# In a folder of its own, because it is a program and no library; what it needs has to be there already.
INSTALLED = $(prefix)/lib/kestrel
COMMANDS = $(shell grep -o "'[a-z-]* = kestrel\.[a-z_.]*:main'" setup.py | sed "s/'\(.*\) = kestrel\.\(.*\):main'/\1=\2/")
install:
	@mkdir -p build
	@$(call make_tree,$(PYTHON),install)
	install -d '$(DESTDIR)$(INSTALLED)' '$(DESTDIR)$(prefix)/bin' '$(DESTDIR)/etc/kestrel' \
	    '$(DESTDIR)$(prefix)/share/man/man1' '$(DESTDIR)$(prefix)/share/man/man5' \
	    '$(DESTDIR)$(prefix)/share/bash-completion/completions' '$(DESTDIR)$(prefix)/lib/systemd/system' \
	    '$(DESTDIR)$(prefix)/share/zsh/site-functions'
	rm -rf '$(DESTDIR)$(INSTALLED)/kestrel'
	cp -r build/tree-install/lib/kestrel '$(DESTDIR)$(INSTALLED)'
	@set -e; python=$$($(PYTHON) -c 'import sys; print(sys.executable)'); for command in $(COMMANDS); do \
	    name=$${command%=*} file='$(DESTDIR)$(prefix)'/bin/$${command%=*}; \
	    printf '#!%s -P\nimport sys\nsys.path.insert(0, "%s")\nfrom kestrel.%s import main\nmain()\n' \
	        "$$python" '$(INSTALLED)' "$${command#*=}" >"$$file"; chmod 755 "$$file"; echo "$$file"; done
	install -m 644 docs/*.1 '$(DESTDIR)$(prefix)/share/man/man1'
	$(PYTHON) docs/conf_page.py >'$(DESTDIR)$(prefix)/share/man/man5/kestrel.conf.5'
	install -m 644 init/kestrel.bash-completion '$(DESTDIR)$(prefix)/share/bash-completion/completions/kestrel'
	for command in $(COMMANDS); do name=$${command%=*}; [ $$name = kestrel ] || \
	    ln -sf kestrel '$(DESTDIR)$(prefix)/share/bash-completion/completions/'$$name; done
	install -m 644 init/_kestrelctl '$(DESTDIR)$(prefix)/share/zsh/site-functions'
	for unit in kestrel.service kestrel@.service; do \
	    sed 's,/usr/bin/kestrel,$(prefix)/bin/kestrel,' init/$$unit \
	        >'$(DESTDIR)$(prefix)'/lib/systemd/system/$$unit; done
	[ -e '$(DESTDIR)/etc/kestrel/kestrel.conf' ] || \
	    install -m 644 etc/kestrel/kestrel.conf '$(DESTDIR)/etc/kestrel/kestrel.conf'

# What the compiler makes is kept in the repository, with its version in each head; test_thrift_gen.py compares.
thrift:
	@command -v thrift >/dev/null || { echo "no thrift compiler: apt install thrift-compiler" >&2; exit 1; }
	@rm -rf build/thrift
	@mkdir -p build/thrift
	thrift --gen py:slots -out build/thrift kestrel/kestrel.thrift
	cp $(addprefix build/thrift/kestrel/,Kestrel.py ttypes.py constants.py) kestrel/thrift_gen

clean:
	rm -rf build dist *.egg-info kestrel.deb

venv: $(VENV_STAMP)

$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is not Python 3.11 or newer: apt install python3, or make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make a virtual environment: apt install python3-venv" >&2; exit 1; }
	@echo "installing PyPI's libraries into $(VENV) (once)" >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r .ci/requirements
	@touch $@

tree-pypi: venv
	@$(call make_tree,$(VENV)/bin/python,pypi)

tree-debian:
	@mkdir -p build
	@$(call make_tree,/usr/bin/python3 -s,debian)
