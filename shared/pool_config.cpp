#include "shared/pool_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "shared/scoreboard.h"

namespace cppfcgi {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr std::int64_t max_delay_ms = 86'400'000;
constexpr std::int64_t max_lifetime_ms = 365 * max_delay_ms;
constexpr std::int64_t max_processes = 1'024;
constexpr std::int64_t max_count = std::int64_t{1} << 50;
constexpr std::int64_t max_umask = 0777;

// ---- strings: JSON knows UTF-8 only, while paths and variables are bytes. What is not UTF-8 is written {"hex":
// "2f73…"}. ----

Json to_value(const std::string& bytes) {
  try {
    (void)Json(bytes).dump();
    return bytes;
  } catch (const Json::type_error&) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string hex;
    for (const unsigned char byte : bytes) (hex += digits[byte >> 4]) += digits[byte & 15];
    return {{"hex", hex}};
  }
}

std::optional<std::string> from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size(); at += 2) {
    unsigned value = 0;
    const char* end = hex.data() + std::min(at + 2, hex.size());
    const auto [stop, failure] = std::from_chars(hex.data() + at, end, value, 16);
    if (failure != std::errc{} || stop != hex.data() + at + 2) return std::nullopt;
    bytes += static_cast<char>(value);
  }
  return bytes;
}

// ---- reading ----

// Takes the members of one object; the first thing that is wrong is kept, with its path, and ends the work.
class Members {
 public:
  Members(const Json& object, std::string path, std::optional<Error>& error)
      : object_(object), path_(std::move(path)), error_(error) {
    if (!object.is_object()) fail("", "is not an object");
  }

  void text(const char* name, std::string& to) {
    if (const Json* value = find(name)) to = to_text(*value, name);
  }

  void texts(const char* name, std::vector<std::string>& to) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_array()) return fail(name, "is not a list of strings");
    to.clear();
    for (const Json& item : *value)
      to.push_back(to_text(item, std::string(name) + "[" + std::to_string(to.size()) + "]"));
  }

  template <class Number>
  void number(const char* name, Number& to, std::int64_t least, std::int64_t most) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number_integer() || *value < least || *value > most) {
      return fail(name, value->dump() + " is not in " + std::to_string(least) + " … " + std::to_string(most));
    }
    to = static_cast<Number>(value->get<std::int64_t>());
  }

  template <class Number>
  void number(const char* name, std::optional<Number>& to, std::int64_t least, std::int64_t most) {
    if (find(name) == nullptr) return;
    Number value = 0;
    number(name, value, least, most);
    to = value;
  }

  // A number of bytes, or "unlimited".
  void size(const char* name, std::optional<std::uint64_t>& to) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (*value == "unlimited") {
      to = no_limit;
    } else {
      number(name, to, 0, max_count);
    }
  }

  void delay(const char* name, milliseconds& to, std::int64_t most_ms = max_delay_ms) {
    std::int64_t count = to.count();
    number(name, count, 0, most_ms);
    to = milliseconds(count);
  }

  void flag(const char* name, bool& to) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return fail(name, value->dump() + " is neither true nor false");
    to = value->get<bool>();
  }

  const Json* find(const char* name) {
    known_.emplace_back(name);
    if (error_ || !object_.contains(name)) return nullptr;
    return &object_[name];
  }

  void fail(const std::string& name, const std::string& what) {
    if (error_) return;
    const std::string where = path_ + (path_.empty() || name.empty() ? "" : ".") + name;
    error_ = Error{EINVAL, (where.empty() ? "the configuration" : where) + ": " + what};
  }

  // A name that nobody asked for is a mistake of spelling.
  void refuse_others() {
    if (error_) return;
    for (const auto& [name, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), name) == known_.end())
        return fail(name, "is no member that is known");
    }
  }

 private:
  std::string to_text(const Json& value, const std::string& name) {
    std::optional<std::string> text;
    if (value.is_string()) text = value.get<std::string>();
    if (value.is_object() && value.size() == 1 && value.contains("hex") && value["hex"].is_string()) {
      text = from_hex(value["hex"].get<std::string>());
    }
    if (!text) {
      fail(name, "is not a string");
    } else if (text->find('\0') != std::string::npos) {
      fail(name, "contains a NUL");
    }
    return text.value_or("");
  }

  const Json& object_;
  std::string path_;
  std::optional<Error>& error_;
  std::vector<std::string> known_;
};

WorkerLimits read_limits(const Json& value, const std::string& path, std::optional<Error>& error) {
  WorkerLimits limits;
  Members members(value, path, error);
  if (error) return limits;
  members.number("address_space_bytes", limits.address_space_bytes, 1, max_count);
  members.number("open_files", limits.open_files, 1, max_count);
  members.number("cpu_seconds", limits.cpu_seconds, 1, max_count);
  members.size("core_bytes", limits.core_bytes);
  members.refuse_others();
  return limits;
}

enum class Of : std::uint8_t { program, a_template };

PoolConfig read_pool(const Json& value, const std::string& path, std::optional<Error>& error, Of kind = Of::program) {
  PoolConfig pool;
  Members members(value, path, error);
  if (error) return pool;
  members.text("program", pool.program);
  pool.name = pool.program;
  members.text("name", pool.name);
  members.texts("arguments", pool.arguments);
  members.texts("environment", pool.environment);
  members.number("processes", pool.processes, 0, max_processes);
  pool.max_processes = std::max(pool.processes, 1U);  // a pool of one size, unless it says otherwise
  members.number("max_processes", pool.max_processes, 1, max_processes);
  members.delay("idle_process_timeout_ms", pool.idle_process_timeout);
  members.number("scale_guard_memory_percent", pool.scale_guard_memory_percent, 0, 100);
  members.number("scale_guard_load", pool.scale_guard_load, 0, 1'000);
  members.number("listen_queue_depth", pool.listen_queue_depth, 1, 65'535);
  members.number("priority", pool.priority, 0, 19);
  members.text("folder", pool.folder);
  members.number("umask", pool.umask, 0, max_umask);
  if (const Json* limits = members.find("limits")) pool.limits = read_limits(*limits, path + ".limits", error);
  members.delay("init_start_delay_ms", pool.init_start_delay);
  members.delay("restart_delay_ms", pool.restart_delay);
  members.delay("min_server_life_ms", pool.min_server_life);
  members.delay("ready_timeout_ms", pool.ready_timeout);
  members.delay("stop_grace_ms", pool.stop_grace);
  members.delay("drain_grace_ms", pool.drain_grace);
  members.number("max_requests", pool.max_requests, 0, max_count);
  members.delay("max_lifetime_ms", pool.max_lifetime, max_lifetime_ms);
  members.number("max_rss_bytes", pool.max_rss_bytes, 0, max_count);
  members.delay("probe_interval_ms", pool.probe_interval);
  members.flag("follows_program", pool.follows_program);
  members.text("deploy_check", pool.deploy_check);
  members.text("mount", pool.mount);
  members.number("log", pool.log, 0, max_pools);
  members.text("scope", pool.scope);
  members.text("listen", pool.listen);
  members.texts("endpoints", pool.endpoints);
  members.number("max_connections", pool.max_connections, 1, max_endpoint_connections);
  members.refuse_others();
  if (kind == Of::a_template && !pool.program.empty()) members.fail("program", "is not empty");
  if (kind == Of::program && !pool.program.starts_with('/'))
    members.fail("program", "\"" + pool.program + "\" is not an absolute path");
  if (!pool.folder.empty() && !pool.folder.starts_with('/'))
    members.fail("folder", "\"" + pool.folder + "\" is not an absolute path");
  if (pool.max_processes < pool.processes)
    members.fail("max_processes", std::to_string(pool.max_processes) + " is below processes, which is " +
                                      std::to_string(pool.processes));
  if (pool.endpoints.size() > max_endpoints)
    members.fail("endpoints", "are more than " + std::to_string(max_endpoints));
  if (pool.is_external() && !pool.listen.empty()) members.fail("listen", "is not for a pool with endpoints");
  if (kind == Of::a_template && pool.is_external()) members.fail("endpoints", "are not for a template");
  if (kind == Of::a_template && !pool.listen.empty()) members.fail("listen", "is not for a template");
  for (const std::string& variable : pool.environment) {
    const std::size_t equals = variable.find('=');
    if (equals == 0 || equals == std::string::npos)
      members.fail("environment", "\"" + variable + "\" is not NAME=value");
  }
  return pool;
}

PoolTemplate read_template(const Json& value, const std::string& path, std::optional<Error>& error) {
  PoolTemplate made;
  Members members(value, path, error);
  if (error) return made;
  const Json* pool = members.find("pool");
  if (pool == nullptr) {
    members.fail("pool", "is missing");
  } else {
    made.pool = read_pool(*pool, path + ".pool", error, Of::a_template);
  }
  members.number("max_workers", made.max_workers, 1, max_workers);
  members.number("min_workers", made.min_workers, 0, max_workers);
  members.refuse_others();
  return made;
}

// ---- identity ----

// FNV-1a, 64 bits: the same in every build and process, which std::hash need not be.
class Hash {
 public:
  void add(std::string_view bytes) {
    add(bytes.size());
    for (const unsigned char byte : bytes) step(byte);
  }
  void add(std::uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) step(static_cast<unsigned char>(number >> shift & 0xff));
  }
  void add(const std::vector<std::string>& list) {
    add(list.size());
    for (const std::string& text : list) add(text);
  }
  void add(const std::optional<std::uint64_t>& number) {
    add(std::uint64_t{number.has_value()});
    add(number.value_or(0));
  }
  void add(milliseconds time) { add(static_cast<std::uint64_t>(time.count())); }
  std::uint64_t value() const { return state_ == 0 ? 1 : state_; }

 private:
  void step(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3; }
  std::uint64_t state_ = 0xcbf29ce484222325;
};

// Pools that are alike are one; pools that only look so to the scoreboard would be taken for each other.
void refuse_ambiguous(const std::vector<PoolConfig>& pools, Members& members) {
  std::map<std::uint64_t, std::size_t> places;
  for (std::size_t i = 0; i < pools.size(); ++i) {
    const auto [place, is_new] = places.emplace(pools[i].key(), i);
    if (is_new || pools[place->second] == pools[i]) continue;
    members.fail("pools[" + std::to_string(i) + "]", "has the program, arguments, scope and max_processes of pools[" +
                                                         std::to_string(place->second) +
                                                         "], and other settings: give it another scope");
  }
}

}  // namespace

std::uint64_t PoolConfig::key() const {
  Hash hash;
  hash.add(program);
  hash.add(arguments);
  hash.add(scope);
  hash.add(std::uint64_t{max_processes});
  if (!listen.empty()) hash.add(listen);
  if (is_external()) {
    hash.add(endpoints);
    hash.add(std::uint64_t{max_connections});
  }
  return hash.value();
}

std::uint64_t PoolConfig::worker_key() const {
  Hash hash;
  hash.add(program);
  hash.add(arguments);
  hash.add(environment);
  hash.add(static_cast<std::uint64_t>(priority));
  hash.add(folder);
  hash.add(std::optional<std::uint64_t>(umask));
  hash.add(limits.address_space_bytes);
  hash.add(limits.open_files);
  hash.add(limits.cpu_seconds);
  hash.add(limits.core_bytes);
  return hash.value();
}

namespace {

Json to_value(const WorkerLimits& limits) {
  Json value = Json::object();
  if (limits.address_space_bytes) value["address_space_bytes"] = *limits.address_space_bytes;
  if (limits.open_files) value["open_files"] = *limits.open_files;
  if (limits.cpu_seconds) value["cpu_seconds"] = *limits.cpu_seconds;
  if (limits.core_bytes == no_limit) {
    value["core_bytes"] = "unlimited";
  } else if (limits.core_bytes) {
    value["core_bytes"] = *limits.core_bytes;
  }
  return value;
}

Json to_values(const std::vector<PoolConfig>& all) {
  auto list = [](const std::vector<std::string>& texts) {
    Json values = Json::array();
    for (const std::string& text : texts) values.push_back(to_value(text));
    return values;
  };
  Json pools = Json::array();
  for (const PoolConfig& pool : all) {
    pools.push_back({{"name", to_value(pool.name)},
                     {"program", to_value(pool.program)},
                     {"arguments", list(pool.arguments)},
                     {"environment", list(pool.environment)},
                     {"processes", pool.processes},
                     {"max_processes", pool.max_processes},
                     {"idle_process_timeout_ms", pool.idle_process_timeout.count()},
                     {"scale_guard_memory_percent", pool.scale_guard_memory_percent},
                     {"scale_guard_load", pool.scale_guard_load},
                     {"listen_queue_depth", pool.listen_queue_depth},
                     {"priority", pool.priority},
                     {"folder", to_value(pool.folder)},
                     {"limits", to_value(pool.limits)},
                     {"init_start_delay_ms", pool.init_start_delay.count()},
                     {"restart_delay_ms", pool.restart_delay.count()},
                     {"min_server_life_ms", pool.min_server_life.count()},
                     {"ready_timeout_ms", pool.ready_timeout.count()},
                     {"stop_grace_ms", pool.stop_grace.count()},
                     {"drain_grace_ms", pool.drain_grace.count()},
                     {"max_requests", pool.max_requests},
                     {"max_lifetime_ms", pool.max_lifetime.count()},
                     {"max_rss_bytes", pool.max_rss_bytes},
                     {"probe_interval_ms", pool.probe_interval.count()},
                     {"follows_program", pool.follows_program},
                     {"deploy_check", to_value(pool.deploy_check)},
                     {"mount", to_value(pool.mount)},
                     {"log", pool.log},
                     {"scope", to_value(pool.scope)},
                     {"listen", to_value(pool.listen)},
                     {"endpoints", list(pool.endpoints)},
                     {"max_connections", pool.max_connections}});
    if (pool.umask) pools.back()["umask"] = *pool.umask;
  }
  return pools;
}

Json to_value(const PoolTemplate& made) {
  return {{"pool", to_values({made.pool})[0]}, {"max_workers", made.max_workers}, {"min_workers", made.min_workers}};
}

}  // namespace

PoolConfig PoolTemplate::for_program(const std::string& program) const {
  PoolConfig made = pool;
  made.program = program;
  made.name = program + pool.name;
  // It goes into the log, and comes from a file's name.
  std::replace_if(
      made.name.begin(), made.name.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return made;
}

// By all that it says, but for the log, whose number other virtual hosts may shift.
std::uint64_t PoolTemplate::key() const {
  PoolTemplate alike = *this;
  alike.pool.log = 0;
  Hash hash;
  hash.add(to_value(alike).dump());
  return hash.value();
}

std::string to_json(const Configuration& configuration) {
  Json templates = Json::array();
  for (const PoolTemplate& made : configuration.templates) templates.push_back(to_value(made));
  return Json{{"socket_folder", to_value(configuration.socket_folder)},
              {"pools", to_values(configuration.pools)},
              {"templates", templates}}
      .dump();
}

Result<Configuration> configuration_from_json(std::string_view text) {
  Json root;
  try {
    root = Json::parse(text);
  } catch (const Json::parse_error& failure) {
    return Error{EINVAL, "the configuration is not JSON: " + std::string(failure.what())};
  }
  Configuration configuration;
  std::optional<Error> error;
  Members members(root, "", error);
  if (error) return *error;
  members.text("socket_folder", configuration.socket_folder);
  const Json* pools = members.find("pools");
  if (pools == nullptr || !pools->is_array()) members.fail("pools", "is not a list of pools");
  for (std::size_t i = 0; !error && i < pools->size(); ++i) {
    configuration.pools.push_back(read_pool((*pools)[i], "pools[" + std::to_string(i) + "]", error));
  }
  if (const Json* templates = members.find("templates")) {
    if (!templates->is_array()) members.fail("templates", "is not a list of templates");
    for (std::size_t i = 0; !error && i < templates->size(); ++i)
      configuration.templates.push_back(read_template((*templates)[i], "templates[" + std::to_string(i) + "]", error));
  }
  members.refuse_others();
  if (!configuration.socket_folder.starts_with('/')) members.fail("socket_folder", "is not an absolute path");
  if (configuration.socket_folder.size() + socket_name_bytes > max_socket_path_bytes) {
    members.fail("socket_folder",
                 "is longer than " + std::to_string(max_socket_path_bytes - socket_name_bytes) + " bytes");
  }
  std::size_t slots = 0;
  for (const PoolConfig& pool : configuration.pools) slots += pool.slot_count();
  if (configuration.pools.size() > max_pools) members.fail("pools", "are more than " + std::to_string(max_pools));
  if (slots > max_workers)
    members.fail("pools", "have more than " + std::to_string(max_workers) + " processes together");
  refuse_ambiguous(configuration.pools, members);
  if (error) return *error;
  return configuration;
}

std::uint32_t PoolConfig::slot_count() const {
  if (!is_external()) return max_processes;
  return static_cast<std::uint32_t>(endpoints.size()) * slots_of_endpoint(*this);
}

std::uint32_t slots_of_endpoint(const PoolConfig& pool) {
  return (pool.max_connections + max_capacity - 1) / max_capacity;
}

std::uint32_t capacity_of_slot(const PoolConfig& pool, std::uint32_t index) {
  const std::uint32_t slots = slots_of_endpoint(pool);
  const auto place = index / static_cast<std::uint32_t>(pool.endpoints.size());
  return pool.max_connections / slots + (place < pool.max_connections % slots ? 1 : 0);
}

std::string slot_address(const PoolConfig& pool, const std::string& folder, std::uint64_t key, std::uint32_t index) {
  if (pool.is_external()) return pool.endpoints[index % pool.endpoints.size()];
  return pool.listen.empty() ? socket_path(folder, key, index) : pool.listen;
}

namespace {

std::string key_path(const std::string& folder, std::uint64_t key) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string path = folder + '/';
  for (int shift = 60; shift >= 0; shift -= 4) path += digits[key >> shift & 15];
  return path;
}

}  // namespace

std::string socket_path(const std::string& folder, std::uint64_t key, std::uint32_t index) {
  return key_path(folder, key) + '.' + std::to_string(index);
}

std::string program_link_path(const std::string& folder, std::uint64_t key) {
  return key_path(folder, key) + ".program";
}

}  // namespace cppfcgi
