# make, make demo, make test: see `make help`. Everything is built below $(BUILD); apxs.mk knows how httpd wants its module.
BUILD  ?= build
PREFIX ?= /usr/local
SANITIZE ?=
CXX ?= g++
OPTIMIZE ?= -O2 -g
VERSION := 0.1.0
SOVERSION := 0

# Nothing can be built, nor the rules below be expanded, before the packages are there.
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wswitch -Werror -Wno-missing-field-initializers
CPPFLAGS += -I. -Iworker/include -DCPPFCGI_VERSION='"$(VERSION)"'
CXXFLAGS += -std=c++20 $(OPTIMIZE) $(WARNINGS) -fPIC -fvisibility=hidden -fno-gnu-unique -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
LDFLAGS += -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE))

objects = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard $(addsuffix /*.cpp,$(1))))
SHARED   := $(call objects,shared)
WORKER   := $(call objects,worker/src)
CORE     := $(call objects,mod_cppfcgi/core)
MANAGER  := $(call objects,mod_cppfcgi/manager)
HTTPD    := $(call objects,mod_cppfcgi/httpd)
SUPPORT  := $(call objects,tests/support)

SAMPLES := $(patsubst worker/samples/%.cpp,$(BUILD)/samples/%,$(wildcard worker/samples/*.cpp))
PRODUCTS := $(BUILD)/mod_cppfcgi.so $(BUILD)/cppfcgi-manager $(BUILD)/libcppfcgi.a $(BUILD)/libcppfcgi.so $(SAMPLES)

.DEFAULT_GOAL := all
.PHONY: all
all: dependencies-build ## build the module, the manager, the worker library and the samples into build/
	@$(MAKE) --no-print-directory products

.PHONY: products
products: $(PRODUCTS)

include apxs.mk

# A test is compiled as often as it is run, and optimizing it takes longer than all that it saves; so does all that a debugger could
# know of it beyond its lines. What tests start, and what makes loads, are another matter.
$(BUILD)/obj/tests/%.o: CXXFLAGS += -O0 -g1
OPTIMIZED_TESTS := $(filter-out %_test.o,$(call objects,tests/*/programs tests/chaos tests/bench tests/bench/*))
$(OPTIMIZED_TESTS): CXXFLAGS := $(CXXFLAGS)

# GoogleTest's headers are most of what a test includes: compiled once for all of them.
TEST_HEADERS := $(BUILD)/obj/tests/googletest.h
TEST_OBJECTS := $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard $(patsubst %,tests/%/*_test.cpp,unit process httpd chaos)))
$(TEST_OBJECTS): CPPFLAGS += -include $(TEST_HEADERS)
$(TEST_OBJECTS): $(TEST_HEADERS).gch
$(TEST_HEADERS).gch:
	@mkdir -p $(@D)
	@printf '#include <gmock/gmock.h>\n#include <gtest/gtest.h>\n' > $(TEST_HEADERS)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -x c++-header $(TEST_HEADERS) -o $@

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c $< -o $@

# ---- the worker library ----
LIBRARY := $(WORKER) $(patsubst %,$(BUILD)/obj/shared/%.o,record params worker_note)
$(BUILD)/libcppfcgi.a: $(LIBRARY)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/libcppfcgi.so.$(SOVERSION): $(LIBRARY) worker/libcppfcgi.map
	$(CXX) -shared -Wl,-soname,libcppfcgi.so.$(SOVERSION) -Wl,--version-script=worker/libcppfcgi.map $(LDFLAGS) $(LIBRARY) -o $@

$(BUILD)/libcppfcgi.so: $(BUILD)/libcppfcgi.so.$(SOVERSION)
	@ln -sf $(<F) $@

$(BUILD)/samples/%: $(BUILD)/obj/worker/samples/%.o $(BUILD)/libcppfcgi.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ $(if $(filter guestbook,$*),-lsqlite3) -o $@

# ---- the manager ----
$(BUILD)/cppfcgi-manager: $(MANAGER) $(SHARED)
	$(CXX) $(LDFLAGS) $^ -lfmt -ldw -lelf -o $@

# ---- tests: one program ("suite") a folder; tests/support/ is what they share; tests/<folder>/programs/*.cpp are programs that tests run ----
test_suites := unit process httpd interop chaos
chaos_libraries := -lnghttp2
define test_suite
$(BUILD)/tests/$(1)/suite: $(call objects,tests/$(1)) $(SUPPORT) $(CORE) $(filter-out %/main.o,$(MANAGER)) $(WORKER) $(SHARED)
	@mkdir -p $$(@D)
	$$(CXX) $$(LDFLAGS) $$^ -lgmock -lgtest -lgtest_main -lcurl -lfmt -ldw -lelf $$($(1)_libraries) -o $$@
endef
$(foreach suite,$(test_suites),$(eval $(call test_suite,$(suite))))

# Programs that tests run as workers or peers.
TEST_PROGRAMS := $(patsubst tests/%.cpp,$(BUILD)/tests/%,$(wildcard tests/*/programs/*.cpp)) $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/*/programs/*.c))
$(BUILD)/tests/httpd/programs/told_manager: $(SHARED)
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libcppfcgi.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ -o $@
$(BUILD)/tests/interop/programs/%: tests/interop/programs/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -g -Wall -Wextra $< -lfcgi -o $@

.PHONY: test-programs
test-programs: $(patsubst %,$(BUILD)/tests/%/suite,$(test_suites)) $(TEST_PROGRAMS)

.PHONY: test
test: dependencies-test ## install what is missing, build, and pass everything; closes with "N passed, M failed"
	@BUILD=$(BUILD) tests/run

.PHONY: unit process httpd interop
unit process httpd interop: products test-programs ## one suite of the tests; FILTER='Pool.*' for a part of it
	CPPFCGI_BUILD=$(abspath $(BUILD)) $(BUILD)/tests/$@/suite $(if $(FILTER),--gtest_filter='$(FILTER)')

.PHONY: dependencies-build dependencies-test
dependencies-build:
	@tools/install-dependencies build
dependencies-test:
	@tools/install-dependencies test

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-26s %s\n", $$1, $$2 }' Makefile mk/*.mk

include $(wildcard mk/*.mk)
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
