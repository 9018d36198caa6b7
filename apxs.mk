# How httpd wants its module: compiled by our own compiler with apxs' flags (apxs -c compiles .c only and makes an empty
# module of anything else, without a word), linked against nothing but the C++ runtime; httpd and APR are there when it is loaded.
APXS ?= apxs
apxs_query = $(shell $(APXS) -q $(1) 2>/dev/null)
APXS_FLAGS = $(addprefix -isystem ,$(call apxs_query,INCLUDEDIR) $(call apxs_query,APR_INCLUDEDIR) $(call apxs_query,APU_INCLUDEDIR)) \
             $(filter -D%,$(call apxs_query,CFLAGS) $(call apxs_query,EXTRA_CPPFLAGS))

$(HTTPD): CPPFLAGS += $(APXS_FLAGS)

$(BUILD)/mod_cppfcgi.so: $(HTTPD) $(CORE) $(SHARED)
	$(CXX) -shared $(LDFLAGS) -Wl,-z,now -Wl,--no-undefined-version $^ -o $@
