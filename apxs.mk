# How httpd wants its module: compiled by our own compiler with apxs' flags (apxs -c compiles .c only and makes an empty
# module of anything else, without a word), linked against nothing but the C++ runtime; httpd and APR are there when it is loaded.
APXS ?= apxs
apxs_query = $(shell $(APXS) -q $(1) 2>/dev/null)
APXS_FLAGS = $(addprefix -isystem ,$(call apxs_query,INCLUDEDIR) $(call apxs_query,APR_INCLUDEDIR) $(call apxs_query,APU_INCLUDEDIR)) \
             $(filter -D%,$(call apxs_query,CFLAGS) $(call apxs_query,EXTRA_CPPFLAGS))

$(HTTPD): CPPFLAGS += $(APXS_FLAGS)

module_exports := mod_cppfcgi/httpd/exports.map
$(BUILD)/mod_cppfcgi.so: $(HTTPD) $(CORE) $(SHARED) $(module_exports)
	$(CXX) -shared $(LDFLAGS) -Wl,-z,now -Wl,--version-script=$(module_exports) $(filter %.o,$^) -o $@
