# Checks of the source itself: make layers, make format, make tidy. Each is one check of `make test`.
SOURCE_FOLDERS := $(wildcard shared worker mod_cppfcgi tests)
ALL_SOURCES := $(shell find $(SOURCE_FOLDERS) -name '*.cpp' -o -name '*.h')
ALL_HEADERS := $(filter %.h,$(ALL_SOURCES))
TIDY_SOURCES := $(filter-out tests/%,$(filter %.cpp,$(ALL_SOURCES)))
CLANG_FORMAT ?= clang-format-14
CLANG_TIDY ?= clang-tidy-14

# Which flags a file needs, by its folder.
flags_for = $(CPPFLAGS_PLAIN) $(if $(filter mod_cppfcgi/httpd/% tests/bench/module/%,$(1)),$(APXS_FLAGS))
CPPFLAGS_PLAIN := -I. -Iworker/include -DCPPFCGI_VERSION='"$(VERSION)"'

# The files that decide and encode, and so touch nothing (docs/architecture.md); those of them that exist.
PURE := $(wildcard $(addprefix shared/,record.cpp params.cpp claims.cpp pool_config.cpp worker_note.cpp) \
          $(addprefix mod_cppfcgi/core/,answer_head.cpp exchange.cpp poison.cpp request_ids.cpp retry.cpp sip_hash.cpp) \
          $(addprefix mod_cppfcgi/manager/,backoff.cpp capacity.cpp crash_text.cpp endpoints.cpp lines.cpp pool.cpp pool_events.cpp scaling.cpp) \
          $(addprefix worker/src/,build_id.cpp session.cpp))
PURE_OBJECTS := $(PURE:%.cpp=$(BUILD)/obj/%.o)
# Every header compiles alone: as the first that its own .cpp includes (tests/layers sees to that), and here where it has none.
LONE_HEADERS := $(foreach header,$(ALL_HEADERS),$(if $(wildcard $(header:.h=.cpp)),,$(header)))
HEADER_STAMPS := $(LONE_HEADERS:%.h=$(BUILD)/headers/%.ok)

.PHONY: layers format tidy
layers: products $(PURE_OBJECTS) $(HEADER_STAMPS) ## who includes whom, what pure files may call, what the module exports and links
	@BUILD=$(BUILD) tests/layers $(PURE)

$(BUILD)/headers/%.ok: %.h
	@mkdir -p $(@D)
	@echo '#include "$<"' | $(CXX) $(call flags_for,$<) -std=c++20 $(WARNINGS) -fsyntax-only -MMD -MP -MT $@ -MF $(@:.ok=.d) -x c++ - && touch $@

format: ## is every file formatted by .clang-format? (make format-fix formats)
	@$(CLANG_FORMAT) --dry-run -Werror $(ALL_SOURCES)

.PHONY: format-fix
format-fix:
	@$(CLANG_FORMAT) -i $(ALL_SOURCES)

# Checked once for each state of a file and its headers: whenever its object is new.
tidy: $(TIDY_SOURCES:%.cpp=$(BUILD)/tidy/%.ok) ## clang-tidy over the products (what changed since the last time); TIDY_SOURCES="..." for other files
$(BUILD)/tidy/%.ok: $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	@$(CLANG_TIDY) --quiet $*.cpp -- $(call flags_for,$*.cpp) -std=c++20 > $(@:.ok=.log) 2>&1 || { cat $(@:.ok=.log); exit 1; }
	@touch $@

-include $(shell find $(BUILD)/headers -name '*.d' 2>/dev/null)
