#include "mod_cppfcgi/httpd/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>

#include "mod_cppfcgi/httpd/option_values.h"
#include "mod_cppfcgi/httpd/vocabulary.h"
#include "shared/address.h"
#include "shared/scoreboard.h"

namespace cppfcgi {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds shortest_restart_delay{100};
constexpr std::uint32_t fewest_open_files = 16, most_open_files = 1U << 30;

void set_variable(std::vector<std::string>& environment, std::string_view name, std::string_view value) {
  const std::string start = std::string(name) + '=';
  std::erase_if(environment, [&](const std::string& variable) { return variable.starts_with(start); });
  environment.push_back(start + std::string(value));
}

// ---- options ----

template <class To, class T>
Result<void> assign(To& target, Result<T> value) {
  if (!value) return value.error();
  target = *std::move(value);
  return {};
}

Result<void> set(bool& target) {
  target = true;
  return {};
}

Result<void> apply_initial_env(Parse& parse) {
  const std::size_t equals = parse.value.find('=');
  const std::string name(parse.value.substr(0, equals));
  if (name.empty()) return Error{0, "the variable has no name; accepted: NAME=value, or NAME for httpd's own value"};
  // As in mod_fastcgi, a variable that httpd does not have is passed on empty.
  const std::string value =
      equals == parse.value.npos ? parse.environment(name).value_or("") : std::string(parse.value.substr(equals + 1));
  if (!is_utf8(value)) return Error{0, "httpd's own value of it is not UTF-8; write -initial-env NAME=value"};
  set_variable(parse.settings.pool.environment, name, value);
  return {};
}

// mod_fastcgi's word for -queue-timeout, but that its 0 means any time; here that is as if it were not given.
Result<void> settle_queue_timeout(PoolSettings& settings, const Timeouts& timeouts) {
  auto [queue_timeout, app_conn_timeout] = timeouts;
  if (app_conn_timeout && app_conn_timeout->count() == 0) app_conn_timeout.reset();
  if (queue_timeout && app_conn_timeout && *queue_timeout != *app_conn_timeout)
    return Error{0, "-appConnTimeout " + time_text(*app_conn_timeout) +
                        ": means the same as -queue-timeout, which is " + time_text(*queue_timeout) +
                        "; accepted: one of them"};
  if (const auto given = queue_timeout ? queue_timeout : app_conn_timeout) settings.claim_timeout = *given;
  return {};
}

// mod_fastcgi's 0 means "at once"; back-off needs a shortest pause.
Result<void> apply_restart_delay(Parse& parse) {
  const auto time = parse_time(parse.value, milliseconds(0));
  if (!time) return time.error();
  parse.settings.pool.restart_delay = std::max(*time, shortest_restart_delay);
  return {};
}

Result<void> apply_priority(Parse& parse) {
  const auto priority = parse_count(parse.value, 0, 19);
  if (!priority) return priority.error();
  parse.settings.pool.priority = static_cast<int>(*priority);
  return {};
}

Result<void> apply_pass_header(Parse& parse) {
  auto name = parse_header_name(parse.value);
  if (!name) return name.error();
  parse.settings.pass_headers.push_back(*std::move(name));
  return {};
}

// "027"
Result<void> apply_umask(Parse& parse) {
  constexpr std::uint32_t all = 0777;
  std::uint32_t value = 0;
  const char* end = parse.value.data() + parse.value.size();
  const auto [stop, error] = std::from_chars(parse.value.data(), end, value, 8);
  if (error != std::errc() || stop != end || value > all)
    return Error{0, "not a umask; accepted: octal digits from 0 to 777, like 027"};
  parse.settings.pool.umask = value;
  return {};
}

template <class T>
Result<void> assign(std::optional<std::uint64_t>& target, const Result<T>& value) {
  if (!value) return value.error();
  target = static_cast<std::uint64_t>(*value);
  return {};
}

// setrlimit() knows whole seconds.
Result<void> apply_rlimit_cpu(Parse& parse) {
  const auto time = parse_time(parse.value, milliseconds(1'000));
  if (!time) return time.error();
  parse.settings.pool.limits.cpu_seconds =
      static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*time).count());
  return {};
}

Result<void> apply_rlimit_core(Parse& parse) {
  if (equal_ignoring_case(parse.value, "unlimited")) {
    parse.settings.pool.limits.core_bytes = no_limit;
    return {};
  }
  const auto bytes = parse_bytes(parse.value, 0);
  if (!bytes) return Error{0, bytes.error().what + ", or unlimited"};
  parse.settings.pool.limits.core_bytes = *bytes;
  return {};
}

Result<void> apply_chdir(Parse& parse) {
  if (parse.value.empty()) return Error{0, "not a path; accepted: a folder, absolute or relative to ServerRoot"};
  parse.settings.pool.folder = parse.value;
  return {};
}

// mod_fastcgi has the flag -autoUpdate, and ends the workers of the old program first; `roll` is what it means here.
Result<void> apply_deploy(Parse& parse) {
  const bool rolls = equal_ignoring_case(parse.value, "roll");
  if (!rolls && !equal_ignoring_case(parse.value, "none")) return Error{0, "unknown; accepted: roll, none"};
  parse.settings.pool.follows_program = rolls;
  return {};
}

Result<void> apply_deploy_check(Parse& parse) {
  const bool is_path = parse.value.starts_with('/') && std::all_of(parse.value.begin(), parse.value.end(), [](char c) {
                         return static_cast<unsigned char>(c) > ' ' && c != '\x7f' && c != '#';
                       });
  if (!is_path) return Error{0, "not a path; accepted: a path like /health, and a query if need be"};
  parse.settings.pool.deploy_check = parse.value;
  return {};
}

Result<void> apply_max_requests(Parse& parse) {
  const auto count = parse_count(parse.value, 0, std::numeric_limits<std::uint32_t>::max());
  if (!count) return count.error();
  parse.settings.pool.max_requests = *count;
  return {};
}

// "5" or "5,20": per cent of memory, load per processor.
Result<void> apply_scale_guard(Parse& parse) {
  const std::size_t comma = parse.value.find(',');
  const auto memory = parse_digits(parse.value.substr(0, comma));
  const auto load = comma == parse.value.npos ? std::optional<std::uint64_t>(parse.settings.pool.scale_guard_load)
                                              : parse_digits(parse.value.substr(comma + 1));
  if (!memory || !load || *memory > 90 || *load > 1'000)
    return Error{0,
                 "not a limit; accepted: per cent of memory, 0 to 90, or these and the load for each processor, 0 to "
                 "1000, as in 5,20; 0 for no limit"};
  parse.settings.pool.scale_guard_memory_percent = static_cast<std::uint32_t>(*memory);
  parse.settings.pool.scale_guard_load = static_cast<std::uint32_t>(*load);
  return {};
}

// Where an external application listens; a name is looked up once the whole configuration is read.
Result<void> apply_host(Parse& parse) {
  if (!split_host_port(parse.value))
    return Error{0, "not host:port; accepted: a name or an address and a port from 1 to 65535, [::1]:9000 for IPv6"};
  parse.settings.pool.endpoints.emplace_back(parse.value);
  return {};
}

// On loopback, unless the operator says otherwise; mod_fastcgi binds every address.
Result<void> apply_port(Parse& parse) {
  const bool is_number = parse.value.find(':') == std::string_view::npos;
  const std::string address = (is_number ? "127.0.0.1:" : "") + std::string(parse.value);
  if (parse.value.starts_with('/') || !Address::from(address))
    return Error{0, "not a port; accepted: 1 to 65535, or with an address: 0.0.0.0:9000, [::1]:9000"};
  parse.settings.pool.listen = address;
  return {};
}

// A file name in FastCgiIpcDir, or a path.
Result<std::string> parse_socket(std::string_view text) {
  if (text.empty() || text.ends_with('/')) return Error{0, "not a file; accepted: a path, or a name in FastCgiIpcDir"};
  return std::string(text);
}

// Where an external application listens.
Result<void> apply_external_socket(Parse& parse) {
  auto socket = parse_socket(parse.value);
  if (!socket) return socket.error();
  parse.settings.pool.endpoints.push_back(*std::move(socket));
  return {};
}

constexpr bool value = true, flag = false, once = false, repeated = true;

// How requests are treated, whoever starts the workers.
constexpr std::array request_options = {
    Option{"-appConnTimeout", value, once,
           [](Parse& p) { return assign(p.timeouts.app_conn, parse_time(p.value, milliseconds(0))); }},
    Option{"-flush", flag, once, [](Parse& p) { return set(p.settings.flush); }},
    Option{"-idle-timeout", value, once,
           [](Parse& p) { return assign(p.settings.idle_timeout, parse_time(p.value, milliseconds(1))); }},
    Option{"-max-threads", value, once,
           [](Parse& p) { return assign(p.settings.max_threads, parse_count(p.value, 1, max_waiting)); }},
    Option{"-mount", value, once, [](Parse& p) { return assign(p.settings.mount, parse_mount(p.value)); }},
    Option{"-nph", flag, once, [](Parse& p) { return set(p.settings.nph); }},
    Option{"-pass-header", value, repeated, apply_pass_header},
    Option{"-queue", value, once,
           [](Parse& p) { return assign(p.settings.queue_limit, parse_count(p.value, 0, max_waiting)); }},
    Option{"-queue-timeout", value, once,
           [](Parse& p) { return assign(p.timeouts.queue, parse_time(p.value, milliseconds(1))); }},
    Option{"-request-timeout", value, once,
           [](Parse& p) { return assign(p.settings.request_timeout, parse_time_or_none(p.value, milliseconds(1))); }},
    Option{"-retries", value, once, [](Parse& p) { return assign(p.settings.retries, parse_count(p.value, 0, 10)); }},
};

// Of workers that are started here.
constexpr std::array worker_options = {
    Option{"-autoUpdate", flag, once, [](Parse& p) { return set(p.settings.pool.follows_program); }},
    Option{"-chdir", value, once, apply_chdir},
    Option{"-deploy", value, once, apply_deploy},
    Option{"-deploy-check", value, once, apply_deploy_check},
    Option{"-drain-timeout", value, once,
           [](Parse& p) { return assign(p.settings.pool.drain_grace, parse_time(p.value, milliseconds(0))); }},
    Option{
        "-idle-process-timeout", value, once,
        [](Parse& p) { return assign(p.settings.pool.idle_process_timeout, parse_time(p.value, milliseconds(100))); }},
    Option{"-init-start-delay", value, once,
           [](Parse& p) { return assign(p.settings.pool.init_start_delay, parse_time(p.value, milliseconds(0))); }},
    Option{"-initial-env", value, repeated, apply_initial_env},
    Option{"-listen-queue-depth", value, once,
           [](Parse& p) { return assign(p.settings.pool.listen_queue_depth, parse_count(p.value, 1, 65'535)); }},
    Option{"-max-lifetime", value, once,
           [](Parse& p) {
             return assign(p.settings.pool.max_lifetime, parse_time_or_none(p.value, milliseconds(1'000)));
           }},
    Option{"-max-processes", value, once,
           [](Parse& p) { return assign(p.settings.pool.max_processes, parse_count(p.value, 1, 1'024)); }},
    Option{"-max-requests", value, once, apply_max_requests},
    Option{
        "-max-rss", value, once,
        [](Parse& p) { return assign(p.settings.pool.max_rss_bytes, parse_bytes(p.value, std::uint64_t{1} << 20)); }},
    Option{"-min-server-life", value, once,
           [](Parse& p) { return assign(p.settings.pool.min_server_life, parse_time(p.value, milliseconds(0))); }},
    Option{"-priority", value, once, apply_priority},
    Option{"-probe-interval", value, once,
           [](Parse& p) {
             return assign(p.settings.pool.probe_interval, parse_time_or_none(p.value, milliseconds(100)));
           }},
    Option{"-processes", value, once,
           [](Parse& p) { return assign(p.settings.pool.processes, parse_count(p.value, 1, 1'024)); }},
    Option{"-restart-delay", value, once, apply_restart_delay},
    Option{"-rlimit-as", value, once,
           [](Parse& p) {
             return assign(p.settings.pool.limits.address_space_bytes, parse_bytes(p.value, std::uint64_t{1} << 20));
           }},
    Option{"-rlimit-core", value, once, apply_rlimit_core},
    Option{"-rlimit-cpu", value, once, apply_rlimit_cpu},
    Option{"-rlimit-nofile", value, once,
           [](Parse& p) {
             return assign(p.settings.pool.limits.open_files, parse_count(p.value, fewest_open_files, most_open_files));
           }},
    Option{"-scale-guard", value, once, apply_scale_guard},
    Option{"-umask", value, once, apply_umask},
};

// FastCgiServer's own: where its workers share a socket.
constexpr std::array shared_socket_options = {
    Option{"-port", value, once, apply_port},
    Option{"-socket", value, once, [](Parse& p) { return assign(p.settings.pool.listen, parse_socket(p.value)); }},
};

// FastCgiExternalServer's own.
constexpr std::array external_options = {
    Option{"-host", value, repeated, apply_host},
    Option{"-max-connections", value, once,
           [](Parse& p) {
             return assign(p.settings.pool.max_connections, parse_count(p.value, 1, max_endpoint_connections));
           }},
    Option{"-socket", value, once, apply_external_socket},
};

constexpr std::string_view for_dynamic =
    "is for applications without a FastCgiServer line: write it in FastCgiConfig, or remove it";
constexpr std::string_view for_static_count =
    "is for applications without a FastCgiServer line; accepted here: -processes n, -max-processes n";
// mod_fastcgi's other options.
constexpr std::array later_options = {
    Later{"-user", "not yet available in this version: remove it; workers run as httpd's User"},
    Later{"-group", "not yet available in this version: remove it; workers run as httpd's Group"},
    Later{"-minProcesses", for_static_count},
    Later{"-min-processes", for_static_count},
    Later{"-maxClassProcesses", for_static_count},
};

// Of FastCgiConfig.
constexpr std::array for_dynamic_alone = {
    Later{"-startDelay", for_dynamic},      Later{"-killInterval", for_dynamic},
    Later{"-updateInterval", for_dynamic},  Later{"-gainValue", for_dynamic},
    Later{"-singleThreshold", for_dynamic}, Later{"-singleThreshhold", for_dynamic},
    Later{"-multiThreshold", for_dynamic},  Later{"-multiThreshhold", for_dynamic},
    Later{"-processSlack", for_dynamic},    Later{"-restart", for_dynamic},
};

// Where nobody starts workers.
constexpr std::string_view for_workers = "is for workers that are started here: remove it";
constexpr std::array for_own_alone = {
    Later{"-user", for_workers},
    Later{"-group", for_workers},
    Later{"-minProcesses", for_dynamic},
    Later{"-min-processes", for_dynamic},
    Later{"-maxClassProcesses", for_dynamic},
};

// ---- FastCgiConfig ----

// What mod_fastcgi needs to guess the demand, which is known here: accepted, and told at httpd's start.
Result<void> map(Parse& parse, std::string_view option, std::string_view meaning) {
  std::string& mapped = parse.dynamic->mapped;
  const std::string text = std::string(option) + ": " + std::string(meaning);
  if (mapped.find(text) == mapped.npos) mapped += (mapped.empty() ? "" : "; ") + text;
  return {};
}

Result<void> map_count(Parse& parse, std::uint32_t low, std::uint32_t high, std::string_view option,
                       std::string_view meaning) {
  const auto count = parse_count(parse.value, low, high);
  return count ? map(parse, option, meaning) : count.error();
}

Result<void> map_time(Parse& parse, milliseconds low, std::string_view option, std::string_view meaning) {
  const auto time = parse_time(parse.value, low);
  return time ? map(parse, option, meaning) : time.error();
}

Result<void> apply_gain_value(Parse& parse) {
  double number = -1;
  const char* end = parse.value.data() + parse.value.size();
  const auto [stop, failure] = std::from_chars(parse.value.data(), end, number);
  const bool is_in_range = number >= 0 && number <= 1;
  if (failure != std::errc() || stop != end || !is_in_range)
    return Error{0, "not a number in range; accepted: 0 to 1, such as 0.5"};
  return map(parse, "-gainValue", "nothing to weigh, since a request that waits starts a worker");
}

Result<void> apply_single_threshold(Parse& parse) {
  return map_count(parse, 0, 100, "-singleThreshold",
                   "an application's last worker ends when unused for -killInterval, as long as more than "
                   "-minProcesses live");
}

Result<void> apply_multi_threshold(Parse& parse) {
  return map_count(parse, 0, 100, "-multiThreshold", "each worker that is not needed for -killInterval ends");
}

// Starts are for requests that wait.
Result<void> apply_dynamic_init_start_delay(Parse& parse) {
  return map_time(parse, milliseconds(0), "-init-start-delay",
                  "nothing starts with httpd, and later starts are for requests that wait");
}

constexpr std::array dynamic_options = {
    Option{"-gainValue", value, once, apply_gain_value},
    Option{"-init-start-delay", value, once, apply_dynamic_init_start_delay},
    Option{
        "-killInterval", value, once,
        [](Parse& p) { return assign(p.settings.pool.idle_process_timeout, parse_time(p.value, milliseconds(100))); }},
    Option{"-maxClassProcesses", value, once,
           [](Parse& p) { return assign(p.settings.pool.max_processes, parse_count(p.value, 1, 1'024)); }},
    Option{"-maxProcesses", value, once,
           [](Parse& p) { return assign(p.dynamic->max_workers, parse_count(p.value, 1, max_workers)); }},
    Option{"-minProcesses", value, once,
           [](Parse& p) { return assign(p.dynamic->min_workers, parse_count(p.value, 0, max_workers)); }},
    Option{"-multiThreshhold", value, once, apply_multi_threshold},
    Option{"-multiThreshold", value, once, apply_multi_threshold},
    Option{"-processSlack", value, once,
           [](Parse& p) {
             return map_count(p, 1, max_workers, "-processSlack",
                              "at -maxProcesses the application that was unused for the longest time makes room");
           }},
    Option{"-restart", flag, once,
           [](Parse& p) { return map(p, "-restart", "a worker that dies is replaced in any case"); }},
    Option{"-singleThreshhold", value, once, apply_single_threshold},
    Option{"-singleThreshold", value, once, apply_single_threshold},
    Option{"-startDelay", value, once,
           [](Parse& p) {
             return map_time(p, milliseconds(1), "-startDelay", "a request that waits starts a worker at once");
           }},
    Option{"-updateInterval", value, once,
           [](Parse& p) { return map_time(p, milliseconds(1), "-updateInterval", "demand is not sampled"); }},
};

// Of FastCgiServer, and of FastCgiExternalServer.
constexpr std::string_view for_one_external =
    "is for an application that something else starts: write it in that one's FastCgiExternalServer line, or remove it";
constexpr std::array for_declared_alone = {
    Later{"-host", for_one_external},
    Later{"-max-connections", for_one_external},
    Later{"-port", "is for one application: write it in that one's FastCgiServer line, or remove it"},
    Later{"-socket",
          "is for one application: write it in that one's FastCgiServer or FastCgiExternalServer line, or remove it"},
    Later{"-deploy-check", "is for one application: write it in that one's FastCgiServer line, or remove it"},
    Later{"-mount", "is for one application: write it in that one's FastCgiServer line, or remove it"},
    Later{"-nph", "is for one application: write it in that one's FastCgiServer line, or remove it"},
    Later{"-max-processes",
          "is for applications with a FastCgiServer line; accepted here: -maxClassProcesses n for each application, "
          "-maxProcesses n for all together"},
    Later{"-processes", "is for applications with a FastCgiServer line; accepted here: -maxClassProcesses n"},
};

Result<void> check_sizes(PoolConfig& pool) {
  if (pool.max_processes == 0) pool.max_processes = pool.processes;
  if (pool.max_processes >= pool.processes) return {};
  const std::string processes = std::to_string(pool.processes);
  return Error{0, "-max-processes " + std::to_string(pool.max_processes) + ": below -processes " + processes +
                      "; accepted: " + processes + " to 1024, or a smaller -processes"};
}

// What each option may be, but not together.
Result<void> check_together(const PoolConfig& pool, const Given& given) {
  if (!pool.deploy_check.empty() && !pool.follows_program)
    return Error{0, "-deploy-check: without -deploy roll (or -autoUpdate) nothing is deployed; accepted: both"};
  if (given.contains("-port") && given.contains("-socket")) return Error{0, "-port and -socket: accepted: one of them"};
  if (pool.has_own_sockets()) return {};
  const std::string why = std::string(given.contains("-port") ? "-port" : "-socket") +
                          ": on a socket that all workers share, any of them may answer; accepted: one of them";
  if (!pool.deploy_check.empty()) return Error{0, "-deploy-check and " + why};
  if (pool.probe_interval.count() > 0) return Error{0, "-probe-interval and " + why};
  return {};
}

Result<void> check_endpoints(const PoolConfig& pool, const Given& given) {
  if (pool.endpoints.empty())
    return Error{0, "it does not say where the application listens; accepted: -host host:port, or -socket file"};
  if (given.contains("-socket") && pool.endpoints.size() > 1)
    return Error{0, "-host and -socket: accepted: one or more -host, or one -socket"};
  if (pool.endpoints.size() > max_endpoints)
    return Error{0, "-host: given more than " + std::to_string(max_endpoints) + " times; accepted: so many at most"};
  return {};
}

}  // namespace

Result<void> parse_options(PoolSettings& settings, const std::vector<std::string>& words,
                           const Environment& environment) {
  settings.pool.max_processes = 0;  // not given
  Timeouts timeouts;
  const Vocabulary vocabulary{.own = shared_socket_options,
                              .later = {later_options, for_dynamic_alone},
                              .common = {request_options, worker_options},
                              .misplaced = {external_options},
                              .why_misplaced = "FastCgiServer, which starts its own workers"};
  const auto given = parse_words(vocabulary, words, {settings, environment, {}, timeouts});
  if (!given) return given.error();
  if (auto good = check_sizes(settings.pool); !good) return good;
  if (auto good = check_together(settings.pool, *given); !good) return good;
  return settle_queue_timeout(settings, timeouts);
}

Result<void> parse_external_options(PoolSettings& settings, const std::vector<std::string>& words,
                                    const Environment& environment) {
  Timeouts timeouts;
  const Vocabulary vocabulary{.own = external_options,
                              .later = {for_own_alone, for_dynamic_alone},
                              .common = {request_options},
                              .misplaced = {shared_socket_options, worker_options},
                              .why_misplaced = "FastCgiExternalServer, whose workers nobody starts here"};
  const auto given = parse_words(vocabulary, words, {settings, environment, {}, timeouts});
  if (!given) return given.error();
  if (auto good = check_endpoints(settings.pool, *given); !good) return good;
  return settle_queue_timeout(settings, timeouts);
}

Result<void> parse_dynamic_options(DynamicSettings& settings, const std::vector<std::string>& words,
                                   const Environment& environment) {
  const Vocabulary vocabulary{.own = dynamic_options,
                              .later = {for_declared_alone, later_options},
                              .common = {request_options, worker_options}};
  Timeouts timeouts;
  const auto given = parse_words(vocabulary, words, {settings.common, environment, {}, timeouts, &settings});
  if (!given) return given.error();
  return settle_queue_timeout(settings.common, timeouts);
}

}  // namespace cppfcgi
