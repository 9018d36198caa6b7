# libFuzzer: each tests/fuzz/<name>.cpp is a program of its own, with the sources that it fuzzes compiled by clang under the address
# and undefined-behaviour sanitizers. `make fuzz` runs each for FUZZ_SECONDS; `make fuzz-<name>` one. Inputs that were found to reach
# something new stay in $(BUILD)/fuzz/corpus/; what a run starts from lies in tests/fuzz/corpus/<name>/. An input that fails is kept
# as $(BUILD)/fuzz/<name>-crash-…: run the program with that file to see it again, and put it into tests/fuzz/corpus/.
CLANGXX ?= clang++-14
FUZZ_SECONDS ?= 30
FUZZ_NAMES := $(patsubst tests/fuzz/%.cpp,%,$(wildcard tests/fuzz/*.cpp))
FUZZ_FLAGS := -std=c++20 -O1 -gline-tables-only -pthread -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZED := $(patsubst %.cpp,$(BUILD)/fuzz/obj/%.o,$(wildcard shared/*.cpp mod_cppfcgi/core/*.cpp worker/src/*.cpp $(addprefix mod_cppfcgi/manager/,crash_text.cpp lines.cpp)))

$(BUILD)/fuzz/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(CLANGXX) $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(FUZZED)
	$(CLANGXX) $(FUZZ_FLAGS) -fsanitize=fuzzer $^ -o $@

.PHONY: fuzz fuzz-build fuzz-names
fuzz: $(addprefix fuzz-,$(FUZZ_NAMES)) ## every fuzz target for FUZZ_SECONDS=30 each
fuzz-build: $(addprefix $(BUILD)/fuzz/,$(FUZZ_NAMES))
fuzz-names:
	@echo $(FUZZ_NAMES)

.PHONY: $(addprefix fuzz-,$(FUZZ_NAMES))
$(addprefix fuzz-,$(FUZZ_NAMES)): fuzz-%: $(BUILD)/fuzz/%
	@mkdir -p $(BUILD)/fuzz/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
	  -artifact_prefix=$(BUILD)/fuzz/$*- $(BUILD)/fuzz/corpus/$* $(wildcard tests/fuzz/corpus/$*)

-include $(shell find $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
