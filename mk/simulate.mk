# make simulate: the scaling policy under a virtual clock, see tests/support/policy_model.h. Prints the table of docs/scaling.md, and
# draws docs/scaling.png where gnuplot is there (Debian: apt install gnuplot-nox).
$(BUILD)/tests/simulate/simulate: $(call objects,tests/simulate) $(patsubst %,$(BUILD)/obj/%.o,tests/support/policy_model $(addprefix mod_cppfcgi/manager/,backoff pool pool_events scaling))
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ -o $@

.PHONY: simulate
simulate: $(BUILD)/tests/simulate/simulate ## the scaling policy with standard loads, under a virtual clock: a table, and docs/scaling.png
	@mkdir -p $(BUILD)/simulate
	@$< $(BUILD)/simulate
	@if command -v gnuplot > /dev/null; then gnuplot -e "folder='$(BUILD)/simulate'" tests/simulate/scaling.gnuplot > docs/scaling.png && echo "drawn: docs/scaling.png"; \
	 else echo "not drawn: needs gnuplot (apt install gnuplot-nox)"; fi

# What stands in docs/scaling.md.
.PHONY: bench-step
bench-step: dependencies-test ## a step from 1 to 40 clients for mod_cppfcgi and mod_fcgid, three times each
	@$(MAKE) --no-print-directory products test-programs
	@echo '| | answered | a second | p50 (ms) | p99 (ms) | longest (ms) | most workers | starts | back to one |'
	@CPPFCGI_BUILD=$(abspath $(BUILD)) BENCH_STEP=1 $(BUILD)/tests/httpd/suite --gtest_filter='*StepBench*' --gtest_repeat=3 | grep -E '^\||Failure|FAILED'
