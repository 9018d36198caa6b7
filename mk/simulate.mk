# make simulate: the scaling policy under a virtual clock, see tests/support/policy_model.h. Prints the table of docs/scaling.md, and
# draws docs/scaling.svg where gnuplot is there (Debian: apt install gnuplot-nox).
$(BUILD)/tests/simulate/simulate: $(call objects,tests/simulate) $(patsubst %,$(BUILD)/obj/%.o,tests/support/policy_model mod_cppfcgi/manager/pool mod_cppfcgi/manager/scaling)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ -o $@

.PHONY: simulate
simulate: $(BUILD)/tests/simulate/simulate ## the scaling policy with standard loads, under a virtual clock: a table, and docs/scaling.svg
	@mkdir -p $(BUILD)/simulate
	@$< $(BUILD)/simulate
	@if command -v gnuplot > /dev/null; then gnuplot -e "folder='$(BUILD)/simulate'" tests/simulate/scaling.gnuplot > docs/scaling.svg && echo "drawn: docs/scaling.svg"; \
	 else echo "not drawn: needs gnuplot (apt install gnuplot-nox)"; fi
