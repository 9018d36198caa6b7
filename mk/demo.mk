.PHONY: demo
# The script gets SIGINT even where a shell has started make in the background, and SIGTERM when make is gone.
demo: all ## serve the samples on http://127.0.0.1:8080/ (PORT=...) by a private httpd; Ctrl-C ends it and leaves nothing behind
	@exec setpriv --pdeathsig TERM env --default-signal=INT HTTPD=$(call apxs_query,sbindir)/$(call apxs_query,progname) \
	  HTTPD_MODULES=$(call apxs_query,LIBEXECDIR) PORT=$(or $(PORT),8080) tools/demo $(BUILD)
