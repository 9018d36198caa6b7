#include "shared/pool_config.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace cppfcgi {
namespace {

using namespace std::chrono_literals;

Configuration everything() {
  PoolConfig pool;
  pool.name = "/srv/a/app.fcgi (a.example)";
  pool.program = "/srv/a/app.fcgi";
  pool.arguments = {"--threads", "4", ""};
  pool.environment = {"DB=/srv/a/db", "EMPTY=", "ODD=a=b \"\\\n\x01 é"};
  pool.processes = 7;
  pool.max_processes = 9;
  pool.idle_process_timeout = 19ms;
  pool.scale_guard_memory_percent = 8;
  pool.scale_guard_load = 0;
  pool.listen_queue_depth = 17;
  pool.priority = 3;
  pool.folder = "/srv/a";
  pool.umask = 027;
  pool.limits = {
      .address_space_bytes = std::uint64_t{1} << 32, .open_files = 64, .cpu_seconds = 600, .core_bytes = no_limit};
  pool.init_start_delay = 11ms;
  pool.restart_delay = 12ms;
  pool.min_server_life = 13ms;
  pool.ready_timeout = 14ms;
  pool.stop_grace = 15ms;
  pool.max_requests = 16;
  pool.max_lifetime = 17ms;
  pool.max_rss_bytes = std::uint64_t{5} << 30;
  pool.probe_interval = 18ms;
  pool.follows_program = true;
  pool.deploy_check = "/health?deep=1";
  pool.mount = "/app";
  pool.log = 3;
  pool.scope = "a.example:80";
  pool.max_processes = 9;
  pool.idle_process_timeout = 19ms;
  PoolTemplate made{.pool = pool, .max_workers = 20, .min_workers = 0};
  made.pool.program = "";
  made.pool.name = " of a.example";
  made.pool.scope = "dynamic";
  return {.socket_folder = "/run/cppfcgi", .pools = {pool}, .templates = {made}};
}

std::string refusal(const std::string& json) {
  const auto configuration = configuration_from_json(json);
  return configuration ? "accepted" : configuration.error().what;
}

std::string with_pool(const std::string& members) {
  return R"({"socket_folder": "/run/x", "pools": [{"program": "/a"}, {"program": "/b", )" + members + "}]}";
}

TEST(PoolConfig, GoesThroughJsonUnchanged) {
  const Configuration before = everything();
  const auto after = configuration_from_json(to_json(before));
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(*after, before);
}

TEST(PoolConfig, GoesThroughJsonWithBytesThatAreNoText) {
  Configuration before = everything();
  before.pools[0].program = "/srv/\xff\xfe/app";
  before.pools[0].environment = {"X=\xc3"};
  const auto after = configuration_from_json(to_json(before));
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(*after, before);
}

TEST(PoolConfig, NeedsNoMoreThanAProgram) {
  const auto configuration =
      configuration_from_json(R"({"socket_folder": "/run/x", "pools": [{"program": "/srv/a"}]})");
  ASSERT_TRUE(configuration) << configuration.error().what;
  PoolConfig standard;
  standard.program = standard.name = "/srv/a";
  EXPECT_EQ(configuration->pools[0], standard);
}

TEST(PoolConfig, SaysWhereTheMistakeIs) {
  EXPECT_EQ(refusal(with_pool(R"("processes": -1)")), "pools[1].processes: -1 is not in 0 … 1024");
  EXPECT_EQ(refusal(with_pool(R"("max_processes": 0)")), "pools[1].max_processes: 0 is not in 1 … 1024");
  EXPECT_EQ(refusal(with_pool(R"("processes": 4, "max_processes": 3)")),
            "pools[1].max_processes: 3 is below processes, which is 4");
  EXPECT_EQ(refusal(with_pool(R"("processes": 1.5)")), "pools[1].processes: 1.5 is not in 0 … 1024");
  EXPECT_EQ(refusal(with_pool(R"("processes": "4")")), "pools[1].processes: \"4\" is not in 0 … 1024");
  EXPECT_EQ(refusal(with_pool(R"("priority": 20)")), "pools[1].priority: 20 is not in 0 … 19");
  EXPECT_EQ(refusal(with_pool(R"("stop_grace_ms": -1)")), "pools[1].stop_grace_ms: -1 is not in 0 … 86400000");
  EXPECT_EQ(refusal(with_pool(R"("arguments": ["a", 1])")), "pools[1].arguments[1]: is not a string");
  EXPECT_EQ(refusal(with_pool(R"("arguments": "a")")), "pools[1].arguments: is not a list of strings");
  EXPECT_EQ(refusal(with_pool(R"("arguments": ["a\u0000b"])")), "pools[1].arguments[0]: contains a NUL");
  EXPECT_EQ(refusal(with_pool(R"("environment": ["=x"])")), "pools[1].environment: \"=x\" is not NAME=value");
  EXPECT_EQ(refusal(with_pool(R"("folder": "a")")), "pools[1].folder: \"a\" is not an absolute path");
  EXPECT_EQ(refusal(with_pool(R"("umask": 512)")), "pools[1].umask: 512 is not in 0 … 511");
  EXPECT_EQ(refusal(with_pool(R"("limits": {"cpu_seconds": 0})")),
            "pools[1].limits.cpu_seconds: 0 is not in 1 … 1125899906842624");
  EXPECT_EQ(refusal(with_pool(R"("limits": {"files": 1})")), "pools[1].limits.files: is no member that is known");
  EXPECT_EQ(refusal(with_pool(R"("proceses": 4)")), "pools[1].proceses: is no member that is known");
  EXPECT_EQ(refusal(with_pool(R"("name": {"hex": "4"})")), "pools[1].name: is not a string");
}

TEST(PoolConfig, SaysWhatIsWrongWithTheWhole) {
  EXPECT_TRUE(refusal("{").starts_with("the configuration is not JSON: "));
  EXPECT_EQ(refusal("[]"), "the configuration: is not an object");
  EXPECT_EQ(refusal(R"({"socket_folder": "/run/x"})"), "pools: is not a list of pools");
  EXPECT_EQ(refusal(R"({"socket_folder": "x", "pools": []})"), "socket_folder: is not an absolute path");
  EXPECT_EQ(refusal(R"({"socket_folder": "/x", "pools": [{}]})"), "pools[0].program: \"\" is not an absolute path");
  EXPECT_EQ(refusal(R"({"socket_folder": "/x", "pools": [7]})"), "pools[0]: is not an object");
  EXPECT_EQ(refusal(R"({"socket_folder": "/)" + std::string(85, 'x') + R"(", "pools": []})"),
            "socket_folder: is longer than 85 bytes");
}

TEST(PoolConfig, RefusesMoreWorkersThanTheScoreboardHasRoomFor) {
  Configuration configuration = everything();
  configuration.pools[0].max_processes = 1'024;
  configuration.pools.resize(5, configuration.pools[0]);
  EXPECT_EQ(refusal(to_json(configuration)), "pools: have more than 4096 processes together");
}

using Change = std::function<void(PoolConfig&)>;

const std::vector<Change> other_pools = {
    [](PoolConfig& p) { p.program += "x"; },
    [](PoolConfig& p) { p.arguments.push_back(""); },
    [](PoolConfig& p) {
      p.arguments = {"--threads4", ""};
    },
    [](PoolConfig& p) { ++p.max_processes; },
    [](PoolConfig& p) { p.scope = ""; },
};
const std::vector<Change> other_workers = {
    [](PoolConfig& p) { p.environment.pop_back(); },
    [](PoolConfig& p) { ++p.priority; },
    [](PoolConfig& p) { p.folder = ""; },
    [](PoolConfig& p) { p.umask = 0; },
    [](PoolConfig& p) { p.umask = std::nullopt; },
    [](PoolConfig& p) { ++*p.limits.address_space_bytes; },
    [](PoolConfig& p) { ++*p.limits.open_files; },
    [](PoolConfig& p) { ++*p.limits.cpu_seconds; },
    [](PoolConfig& p) { p.limits.core_bytes = std::nullopt; },
};
const std::vector<Change> other_policies = {
    [](PoolConfig& p) { p.name = "another"; },
    [](PoolConfig& p) { --p.processes; },
    [](PoolConfig& p) { p.idle_process_timeout += 1ms; },
    [](PoolConfig& p) { ++p.scale_guard_memory_percent; },
    [](PoolConfig& p) { ++p.scale_guard_load; },
    [](PoolConfig& p) { ++p.listen_queue_depth; },
    [](PoolConfig& p) { p.init_start_delay += 1ms; },
    [](PoolConfig& p) { p.restart_delay += 1ms; },
    [](PoolConfig& p) { p.min_server_life += 1ms; },
    [](PoolConfig& p) { p.ready_timeout += 1ms; },
    [](PoolConfig& p) { p.stop_grace += 1ms; },
    [](PoolConfig& p) { ++p.max_requests; },
    [](PoolConfig& p) { p.max_lifetime += 1ms; },
    [](PoolConfig& p) { ++p.max_rss_bytes; },
    [](PoolConfig& p) { p.probe_interval += 1ms; },
    [](PoolConfig& p) { p.follows_program = !p.follows_program; },
    [](PoolConfig& p) { p.deploy_check = "/other"; },
    [](PoolConfig& p) { p.mount = "/other"; },
    [](PoolConfig& p) { ++p.log; },
};

TEST(PoolConfig, IsIdentifiedByWhatCannotChangeWhileItRuns) {
  const PoolConfig base = everything().pools[0];
  std::set<std::uint64_t> keys = {base.key()};
  for (const Change& change : other_pools) {
    PoolConfig changed = base;
    change(changed);
    EXPECT_TRUE(keys.insert(changed.key()).second) << "change " << keys.size() << " makes no difference";
  }
  for (const auto& changes : {other_workers, other_policies}) {
    for (const Change& change : changes) {
      PoolConfig changed = base;
      change(changed);
      EXPECT_EQ(changed.key(), base.key());
      EXPECT_NE(changed, base);
    }
  }
}

TEST(PoolConfig, TellsWhetherAWorkerMayStay) {
  const PoolConfig base = everything().pools[0];
  std::set<std::uint64_t> keys = {base.worker_key()};
  for (const Change& change : other_workers) {
    PoolConfig changed = base;
    change(changed);
    EXPECT_TRUE(keys.insert(changed.worker_key()).second) << "change " << keys.size() << " makes no difference";
  }
  for (const Change& change : other_policies) {
    PoolConfig changed = base;
    change(changed);
    EXPECT_EQ(changed.worker_key(), base.worker_key());
  }
}

TEST(PoolConfig, RefusesPoolsThatAreTheSameAndAreNot) {
  Configuration configuration = everything();
  configuration.pools.push_back(configuration.pools[0]);
  EXPECT_TRUE(configuration_from_json(to_json(configuration)));
  configuration.pools.back().environment.clear();
  EXPECT_EQ(refusal(to_json(configuration)), "pools[" + std::to_string(configuration.pools.size() - 1) +
                                                 "]: has the program, arguments, scope and max_processes of pools[0], "
                                                 "and other settings: give it another scope");
}

TEST(PoolConfig, HasAKeyThatIsTheSameInEveryBuild) {
  PoolConfig pool;
  pool.program = "/srv/a/app.fcgi";
  EXPECT_EQ(socket_path("", pool.key(), 0), "/ef40b860bb88ab18.0");
}

// ---- external applications, and sockets that workers share ----

PoolConfig external(std::uint32_t max_connections) {
  PoolConfig pool = everything().pools[0];
  pool.endpoints = {"127.0.0.1:9000", "[::1]:9000", "/run/app"};
  pool.max_connections = max_connections;
  return pool;
}

TEST(PoolConfig, OfAnExternalApplicationGoesThroughJsonUnchanged) {
  Configuration before = everything();
  before.pools = {external(77)};
  const auto after = configuration_from_json(to_json(before));
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(*after, before);
  before.pools[0] = everything().pools[0];
  before.pools[0].listen = "127.0.0.1:9000";
  EXPECT_EQ(configuration_from_json(to_json(before))->pools[0].listen, "127.0.0.1:9000");
}

TEST(PoolConfig, OfOtherPlacesIsAnotherPool) {
  std::set<std::uint64_t> keys = {everything().pools[0].key(), external(77).key(), external(78).key()};
  PoolConfig other = external(77);
  other.endpoints.pop_back();
  keys.insert(other.key());
  PoolConfig shared = everything().pools[0];
  shared.listen = "/run/app";
  keys.insert(shared.key());
  EXPECT_EQ(keys.size(), 5U);
}

TEST(PoolConfig, GivesEachEndpointSlotsForAllOfItsConnections) {
  for (const std::uint32_t connections : {1U, 63U, 64U, 65U, 100U, 256U, 4'096U}) {
    const PoolConfig pool = external(connections);
    std::vector<std::uint32_t> sums(3);
    for (std::uint32_t slot = 0; slot < pool.slot_count(); ++slot) {
      EXPECT_LE(capacity_of_slot(pool, slot), 64U);
      sums[slot % 3] += capacity_of_slot(pool, slot);
      EXPECT_EQ(slot_address(pool, "/run", 1, slot), pool.endpoints[slot % 3]);
    }
    EXPECT_EQ(sums, std::vector<std::uint32_t>(3, connections));
  }
}

TEST(PoolConfig, RefusesPlacesThatCannotBe) {
  EXPECT_EQ(refusal(with_pool(R"("endpoints": ["/a"], "listen": "/b")")),
            "pools[1].listen: is not for a pool with endpoints");
  EXPECT_EQ(refusal(with_pool(R"("max_connections": 0)")), "pools[1].max_connections: 0 is not in 1 … 4096");
}

TEST(PoolConfig, GivesEachSlotASocketOfItsOwn) {
  EXPECT_EQ(socket_path("/run/x", 0xab, 0), "/run/x/00000000000000ab.0");
  EXPECT_EQ(socket_path("/run/x", ~0ULL, 1'023).size(), std::string("/run/x").size() + socket_name_bytes);
}

TEST(PoolTemplate, MakesPoolsThatDifferInTheirProgramAlone) {
  const PoolTemplate made = everything().templates[0];
  const PoolConfig a = made.for_program("/a");
  EXPECT_EQ(a.program, "/a");
  EXPECT_EQ(a.name, "/a of a.example");
  EXPECT_EQ(a.environment, made.pool.environment);
  EXPECT_NE(a.key(), made.for_program("/b").key());
  EXPECT_EQ(made.for_program("/a\n\x01z").name, "/a??z of a.example");
}

TEST(PoolTemplate, KeyIsOfAllButTheLog) {
  const PoolTemplate made = everything().templates[0];
  PoolTemplate other = made;
  other.pool.log = 7;
  EXPECT_EQ(other.key(), made.key());
  for (const auto& change : std::vector<std::function<void(PoolTemplate&)>>{
           [](PoolTemplate& t) { t.max_workers = 3; }, [](PoolTemplate& t) { t.min_workers = 3; },
           [](PoolTemplate& t) { t.pool.scope = "x"; }, [](PoolTemplate& t) { t.pool.environment = {}; }}) {
    PoolTemplate changed = made;
    change(changed);
    EXPECT_NE(changed.key(), made.key());
  }
}

TEST(PoolTemplate, RefusesWhatIsWrong) {
  const auto with = [](const std::string& json) {
    return refusal(R"({"socket_folder": "/x", "pools": [], "templates": )" + json + "}");
  };
  EXPECT_EQ(with("7"), "templates: is not a list of templates");
  EXPECT_EQ(with("[7]"), "templates[0]: is not an object");
  EXPECT_EQ(with("[{}]"), "templates[0].pool: is missing");
  EXPECT_EQ(with(R"([{"pool": {"program": "/x"}}])"), "templates[0].pool.program: is not empty");
  EXPECT_EQ(with(R"([{"pool": {"listen": "/x"}}])"), "templates[0].pool.listen: is not for a template");
  EXPECT_EQ(with(R"([{"pool": {"endpoints": ["/x"]}}])"), "templates[0].pool.endpoints: are not for a template");
  EXPECT_EQ(with(R"([{"pool": {}, "max_workers": 0}])"), "templates[0].max_workers: 0 is not in 1 … 4096");
  EXPECT_EQ(with(R"([{"pool": {}, "colour": 0}])"), "templates[0].colour: is no member that is known");
}

}  // namespace
}  // namespace cppfcgi
