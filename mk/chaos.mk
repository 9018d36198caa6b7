# make chaos: the chaos suite at its full length, two parts at a time. Random faults for T seconds altogether, under event with
# HTTP/1.1 and with HTTP/2 and under prefork, and each row of the fault table for 22 s under each of them. SEED=n repeats a run;
# FILTER='*FaultTable*' takes a part of it. `make test` has the short form, as `make chaos-short`. See tests/chaos/scale.h.
# make chaos-peers puts others under the rows of the fault table, in some seven minutes.
T ?= 600
CHAOS := tests/chaos/shards 2 env CPPFCGI_BUILD=$(abspath $(BUILD)) SEED=$(SEED) $(BUILD)/tests/chaos/suite
CHAOS_FILTER := $(if $(FILTER),--gtest_filter='$(FILTER)')
# Bounds a time of 25 ms, which others beside it take; tests/run asks for its name.
CHAOS_ALONE := *SlowReadersDoNotStarveFastClients*

.PHONY: chaos chaos-alone chaos-short chaos-peers
chaos-alone:
	@echo '$(CHAOS_ALONE)'

chaos: dependencies-test ## faults under load: T=600 seconds of random ones, 22 s for each of the fault table; SEED=n repeats a run
	@$(MAKE) --no-print-directory products test-programs
	CHAOS_FULL=1 CHAOS_SECONDS=$$(($(T) / 3)) $(CHAOS) $(or $(CHAOS_FILTER),--gtest_filter='-$(CHAOS_ALONE)')
	$(if $(FILTER),,CHAOS_FULL=1 CPPFCGI_BUILD=$(abspath $(BUILD)) $(BUILD)/tests/chaos/suite --gtest_filter='$(CHAOS_ALONE)')

chaos-short: products test-programs ## the same as `make test` does it
	$(CHAOS) $(CHAOS_FILTER)

chaos-peers: dependencies-test ## the fault table for mod_fcgid, mod_proxy_fcgi and NGINX, the latter two with supervisord
	@$(MAKE) --no-print-directory products test-programs
	CHAOS_FULL=1 CHAOS_PEERS=1 $(CHAOS) --gtest_filter='Other/*'
