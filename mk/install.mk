# make install: DESTDIR and PREFIX are honoured; the module goes where httpd wants it (LIBEXECDIR, by apxs).
LIBEXECDIR ?= $(call apxs_query,LIBEXECDIR)
APACHE_CONFIG ?= $(call apxs_query,SYSCONFDIR)
libdir := $(PREFIX)/lib
manager_folder := $(libdir)/cppfcgi

# The module looks for the manager beside itself, else there: compiled anew where PREFIX changes.
prefix_stamp := $(BUILD)/obj/prefix
$(shell mkdir -p $(dir $(prefix_stamp)) && { echo '$(PREFIX)' | cmp -s - $(prefix_stamp) || echo '$(PREFIX)' > $(prefix_stamp); })
$(BUILD)/obj/mod_cppfcgi/httpd/configuration_check.o: $(prefix_stamp)
$(BUILD)/obj/mod_cppfcgi/httpd/configuration_check.o: CPPFLAGS += -DCPPFCGI_MANAGER='"$(manager_folder)/cppfcgi-manager"'

fill_in = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@LIBEXECDIR@|$(LIBEXECDIR)|g'

.PHONY: install install-files uninstall
install: all ## into PREFIX (/usr/local) and httpd's folders, below DESTDIR; then: a2enmod cppfcgi
	@$(MAKE) --no-print-directory install-files

install-files:
	install -d $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(manager_folder) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(PREFIX)/include/cppfcgi
	install -m 644 $(BUILD)/mod_cppfcgi.so $(DESTDIR)$(LIBEXECDIR)/mod_cppfcgi.so
	install -m 755 $(BUILD)/cppfcgi-manager $(DESTDIR)$(manager_folder)/cppfcgi-manager
	install -m 644 $(BUILD)/libcppfcgi.a $(DESTDIR)$(libdir)/libcppfcgi.a
	install -m 644 $(BUILD)/libcppfcgi.so.$(SOVERSION) $(DESTDIR)$(libdir)/libcppfcgi.so.$(SOVERSION)
	ln -sf libcppfcgi.so.$(SOVERSION) $(DESTDIR)$(libdir)/libcppfcgi.so
	install -m 644 worker/include/cppfcgi/*.h $(DESTDIR)$(PREFIX)/include/cppfcgi/
	$(fill_in) packaging/cppfcgi.pc > $(DESTDIR)$(libdir)/pkgconfig/cppfcgi.pc
	if [ -d $(APACHE_CONFIG)/mods-available ]; then \
	  install -d $(DESTDIR)$(APACHE_CONFIG)/mods-available && \
	  $(fill_in) packaging/cppfcgi.load > $(DESTDIR)$(APACHE_CONFIG)/mods-available/cppfcgi.load && \
	  install -m 644 packaging/cppfcgi.conf $(DESTDIR)$(APACHE_CONFIG)/mods-available/cppfcgi.conf; \
	fi
	if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall: ## remove what install has put there
	rm -f $(DESTDIR)$(LIBEXECDIR)/mod_cppfcgi.so $(DESTDIR)$(libdir)/libcppfcgi.a $(DESTDIR)$(libdir)/libcppfcgi.so \
	  $(DESTDIR)$(libdir)/libcppfcgi.so.$(SOVERSION) $(DESTDIR)$(libdir)/pkgconfig/cppfcgi.pc \
	  $(DESTDIR)$(APACHE_CONFIG)/mods-available/cppfcgi.load $(DESTDIR)$(APACHE_CONFIG)/mods-available/cppfcgi.conf
	rm -rf $(DESTDIR)$(manager_folder) $(DESTDIR)$(PREFIX)/include/cppfcgi
