# The same sources under the sanitizers, each in a build folder of its own: `make asan-build`, `make tsan-build`; tests/run runs them.
SANITIZED_SUITES := unit process
sanitized = $(MAKE) --no-print-directory BUILD=$(BUILD)/$(1) SANITIZE=$(2) OPTIMIZE='-O1 -g1' sanitized-suites
comma := ,

.PHONY: asan-build tsan-build sanitized-suites
asan-build:
	@+$(call sanitized,asan,address$(comma)undefined)
tsan-build:
	@+$(call sanitized,tsan,thread)

# In the sub-make: the suites that run under a sanitizer, and the programs that they start (the module is none).
sanitized-suites: $(BUILD)/cppfcgi-manager $(SAMPLES) $(patsubst %,$(BUILD)/tests/%/suite,$(SANITIZED_SUITES)) \
                  $(filter $(patsubst %,$(BUILD)/tests/%/programs/%,$(SANITIZED_SUITES)),$(TEST_PROGRAMS)) \
                  $(BUILD)/tests/httpd/programs/scripted
