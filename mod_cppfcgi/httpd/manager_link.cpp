#include "mod_cppfcgi/httpd/manager_link.h"

#include <ap_mpm.h>
#include <fcntl.h>
#include <http_config.h>
#include <http_core.h>
#include <http_main.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <iterator>

#include "mod_cppfcgi/httpd/barrier.h"
#include "mod_cppfcgi/httpd/config.h"
#include "mod_cppfcgi/httpd/manager_process.h"
#include "mod_cppfcgi/httpd/pool_logs.h"
#include "mod_cppfcgi/httpd/retained.h"
#include "mod_cppfcgi/httpd/socket_folder.h"
#include "shared/control.h"
#include "shared/futex.h"

namespace cppfcgi {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds answer_deadline{5'000};
constexpr std::chrono::seconds short_life{2};
constexpr int max_short_lives =
    20;  // in a row, about one a second; after them one start per call of the monitor hook, every ten seconds
constexpr int tries_at_once = 3;

std::int64_t now_ms() { return std::chrono::duration_cast<milliseconds>(Clock::now().time_since_epoch()).count(); }

void log_failure(const server_rec* server, const Error& error) {
  ap_log_error(APLOG_MARK, APLOG_ERR, 0, server, "%s", error.what.c_str());
}

// ---- the areas ----

Result<void> make_areas(Retained& link) {
  auto directory = make_shared_memory("cppfcgi-directory", sizeof(Directory));
  if (!directory) return directory.error();
  auto load = make_shared_memory("cppfcgi-load", sizeof(Load));
  if (!load) return load.error();
  Fd nudge(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!nudge) return posix_error("eventfd", errno);
  int orders[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, orders) < 0)
    return posix_error("socketpair", errno);
  link.orders = orders[0];
  link.managers_orders = orders[1];
  link.directory = directory->release();
  link.load = load->release();
  link.nudge = nudge.release();
  return {};
}

// Once for all that run with these areas: old and new children know a request by the same fingerprint.
Result<void> draw_seed(Load& load) {
  std::uint64_t seed = 0;
  while (seed == 0) {
    if (getrandom(&seed, sizeof seed, 0) < 0 && errno != EINTR) return posix_error("getrandom", errno);
  }
  load.poison_seed = seed;
  return {};
}

// Children inherit these views and can make none that is writable where this one is not.
Result<void> map_areas(const Retained& link, LinkState& state) {
  Fd directory(fcntl(link.directory, F_DUPFD_CLOEXEC, 0));
  const auto read_only = reopen_read_only(directory);
  if (!read_only) return read_only.error();
  auto directory_view = Mapping::map(read_only->get(), sizeof(Directory), Access::read_only);
  if (!directory_view) return directory_view.error();
  auto load_view = Mapping::map(link.load, sizeof(Load), Access::read_write);
  if (!load_view) return load_view.error();
  state.directory = *std::move(directory_view);
  state.load = *std::move(load_view);
  auto& load = *static_cast<Load*>(state.load.address());
  load.version = layout_version;
  return load.poison_seed == 0 ? draw_seed(load) : Result<void>{};
}

void sweep(int pid) {
  const LinkState& state = global_config().link;
  if (!state.load) return;
  Claims claims(*static_cast<const Directory*>(state.directory.address()), *static_cast<Load*>(state.load.address()),
                wake_one);
  claims.sweep(pid);
}

// ---- the manager's process ----

void forget_manager(Retained& link) {
  link.manager = 0;
  link.oldest_told = 0;
  close_descriptor(link.control);
}

// A manager that does not answer is of no use, and the next one takes its workers over.
void kill_manager(Retained& link) {
  if (link.manager > 0) {
    kill(link.manager, SIGKILL);
    while (waitpid(link.manager, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  forget_manager(link);
}

Result<void> start(Retained& link, const GlobalConfig& global) {
  auto identity = worker_identity();
  if (!identity) return identity.error();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return posix_error("socketpair", errno);
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  auto pid = start_manager({.program = global.manager_program.value,
                            .control = theirs.get(),
                            .directory = link.directory,
                            .load = link.load,
                            .nudge = link.nudge,
                            .orders = link.managers_orders,
                            .identity = *std::move(identity)});
  if (!pid) return pid.error();
  link.manager = *pid;
  link.control = ours.release();
  link.manager_started = now_ms();
  return {};
}

Error no_answer(const Retained& link, const Error& error) {
  return {error.code, "the manager (pid " + std::to_string(link.manager) + ") did not answer: " + error.what};
}

constexpr int refused = EINVAL;  // the code of the error that says so; another manager would refuse as well

Result<void> await_answer(const Retained& link) {
  const auto deadline = Clock::now() + answer_deadline;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    const auto answer = receive_message(link.control, std::max(left, milliseconds(0)));
    if (!answer) return no_answer(link, answer.error());
    if (answer->number != link.configuration) continue;  // of an earlier one that was given up
    if (answer->kind == MessageKind::configured) return {};
    if (answer->kind == MessageKind::refused)
      return Error{refused, "the manager refuses the configuration: " + answer->text};
  }
}

// Sends the configuration that is in force and waits until the manager has it.
Result<void> configure(const Retained& link, const server_rec* main_server) {
  Configuration configuration{.socket_folder = link.socket_folder, .pools = {}, .templates = {}};
  PoolLogs logs(main_server);
  for_each_pool(main_server, [&](const server_rec* server, const PoolSettings& settings) {
    configuration.pools.push_back(settings.pool);
    configuration.pools.back().log = logs.number_of(server);
  });
  for_each_dynamic(main_server, [&](const server_rec* server, const DynamicSettings& settings) {
    configuration.templates.push_back(settings.to_template());
    configuration.templates.back().pool.log = logs.number_of(server);
  });
  auto text = text_to_memory(to_json(configuration));
  if (!text) return text.error();
  Message message{.kind = MessageKind::configure, .number = link.configuration, .text = {}, .descriptors = {}};
  message.descriptors.push_back(*std::move(text));
  message.descriptors.emplace_back(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  std::ranges::move(logs.take(), std::back_inserter(message.descriptors));
  if (const auto sent = send_message(link.control, message); !sent) return no_answer(link, sent.error());
  return await_answer(link);
}

void watch(Retained& link, apr_pool_t* pconf, server_rec* main_server);
void tell_oldest(Retained& link, const server_rec* main_server);

Result<void> start_and_configure(Retained& link, server_rec* main_server) {
  if (auto started = start(link, *server_config(main_server).global); !started) return started;
  auto configured = configure(link, main_server);
  if (!configured) kill_manager(link);
  if (configured) tell_oldest(link, main_server);
  return configured;
}

// Tries again at once where that takes no time; else the monitor hook comes back to it.
void restart(Retained& link, server_rec* main_server) {
  for (int tries = 1;; ++tries) {
    const auto started = start_and_configure(link, main_server);
    if (started) break;
    log_failure(main_server, started.error());
    if (started.error().code != ETIMEDOUT && tries < tries_at_once) continue;
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, main_server,
                 "no manager runs; next try within 10 s; workers that live go on serving");
    return;
  }
  ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, main_server,
               "started another manager (pid %d), which takes over the living workers", link.manager);
  watch(link, main_server->process->pconf, main_server);
}

bool is_stopping() {
  int state = 0;
  return ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING ||
         (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING);
}

bool has_died(const Retained& link) { return link.manager == 0 || waitpid(link.manager, nullptr, WNOHANG) != 0; }

// httpd stops, and the manager has died shortly before: workers need one that ends them once httpd is gone.
void end_well(Retained& link, server_rec* main_server) {
  if (link.directory < 0 || link.is_tried_at_stop || !has_died(link)) return;
  link.is_tried_at_stop = true;
  forget_manager(link);
  if (const auto started = start_and_configure(link, main_server); !started) log_failure(main_server, started.error());
}

void manager_died(server_rec* main_server, int status) {
  Retained* link = retained();
  if (!link || link->manager == 0 || is_stopping()) return;
  const bool was_short = now_ms() - link->manager_started < milliseconds(short_life).count();
  link->short_lives = was_short ? link->short_lives + 1 : 0;
  const bool goes_on = link->short_lives < max_short_lives;
  const std::string how = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                              : "exit " + std::to_string(WEXITSTATUS(status));
  ap_log_error(APLOG_MARK, APLOG_ERR, 0, main_server, "the manager (pid %d) died: %s; %s", link->manager, how.c_str(),
               goes_on ? "starting another" : "it died early several times in a row; next try within 10 s");
  forget_manager(*link);
  if (goes_on) restart(*link, main_server);
}

// APR calls this in the parent's main loop. Its registration ends with pconf; every pass of the configuration makes a
// new one.
void on_other_child(int reason, void* data, int status) noexcept {
  auto* main_server = static_cast<server_rec*>(data);
  if (reason != APR_OC_REASON_DEATH && reason != APR_OC_REASON_LOST) return;
  barrier(main_server, "the restart of the manager", [&] {
    apr_proc_other_child_unregister(main_server);
    manager_died(main_server, status);
  });
}

void watch(Retained& link, apr_pool_t* pconf, server_rec* main_server) {
  auto* process = static_cast<apr_proc_t*>(apr_pcalloc(pconf, sizeof(apr_proc_t)));
  process->pid = link.manager;
  apr_proc_other_child_register(process, on_other_child, main_server, nullptr, pconf);
}

// ---- generations ----

int current_generation() {
  int generation = 0;
  return ap_mpm_query(AP_MPMQ_GENERATION, &generation) == APR_SUCCESS ? generation : 0;
}

// Tells the manager which configurations no child of httpd knows any more.
void tell_oldest(Retained& link, const server_rec* main_server) {
  const std::uint64_t oldest = link.oldest_configuration();
  if (link.control < 0 || oldest <= link.oldest_told) return;
  const Message message{.kind = MessageKind::generation_ended, .number = oldest, .text = {}, .descriptors = {}};
  const auto sent = send_message(link.control, message);
  if (!sent && sent.error().code == EPIPE) return;  // it has just died; the next one is told
  if (!sent) return log_failure(main_server, sent.error());
  link.oldest_told = oldest;
}

void end_generations(Retained& link, const server_rec* main_server) {
  link.forget_childless(current_generation());
  tell_oldest(link, main_server);
}

// ---- a new configuration ----

// Another version of this module, reloaded into a running httpd, begins anew.
void drop_other_layout(Retained& link) {
  if (link.layout == layout_version) return;
  forget_manager(link);
  for (int* descriptor : {&link.directory, &link.load, &link.nudge, &link.orders, &link.managers_orders})
    close_descriptor(*descriptor);
  link = Retained{};
  link.layout = layout_version;
}

Result<void> prepare(Retained& link, const GlobalConfig& global, const server_rec* main_server) {
  link.parent = getpid();
  if (link.directory < 0)
    if (auto made = make_areas(link); !made) return made;
  const std::string wanted = global.ipc_folder.value + '/' + std::to_string(link.parent);
  if (link.socket_folder[0] != '\0') {
    if (wanted != link.socket_folder)
      ap_log_error(APLOG_MARK, APLOG_WARNING, 0, main_server,
                   "FastCgiIpcDir: changed, but %s is kept until httpd is stopped and started", link.socket_folder);
    return {};
  }
  const auto identity = worker_identity();
  if (!identity) return identity.error();
  const auto folder = make_socket_folder(global.ipc_folder.value, link.parent, *identity);
  if (!folder) return Error{folder.error().code, "FastCgiIpcDir: " + folder.error().what};
  folder->copy(link.socket_folder, sizeof link.socket_folder - 1);
  return {};
}

Result<void> bring_up(Retained& link, server_rec* main_server) {
  const GlobalConfig& global = *server_config(main_server).global;
  if (auto prepared = prepare(link, global, main_server); !prepared) return prepared;
  ++link.configuration;
  link.short_lives = 0;
  link.is_tried_at_stop = false;
  if (has_died(link)) {
    forget_manager(link);
    return start_and_configure(link, main_server);
  }
  auto configured = configure(link, main_server);
  if (configured || configured.error().code == refused) return configured;
  log_failure(main_server, configured.error());
  kill_manager(link);
  return start_and_configure(link, main_server);
}

// mod_fastcgi's options that have nothing of their own to do here: what stands for them.
void tell_mapped_options(const server_rec* main_server) {
  for_each_dynamic(main_server, [](const server_rec* server, const DynamicSettings& settings) {
    if (settings.mapped.empty()) return;
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, server, "FastCgiConfig, at %s:%u: %s", settings.file.c_str(), settings.line,
                 settings.mapped.c_str());
  });
}

}  // namespace

const WorkerAccess* worker_access() {
  const WorkerAccess& access = global_config().link.access;
  return access.load ? &access : nullptr;
}

bool link_is_running() {
  const Retained* link = retained();
  return link && link->manager != 0 && link->parent == getpid();
}

int link_post_config(apr_pool_t* pconf, server_rec* main_server) {
  Retained& link = make_retained();
  drop_other_layout(link);
  auto done = bring_up(link, main_server);
  if (done) done = map_areas(link, server_config(main_server).global->link);
  if (!done) {
    log_failure(main_server, done.error());
    return HTTP_INTERNAL_SERVER_ERROR;
  }
  tell_mapped_options(main_server);
  watch(link, pconf, main_server);
  link.begin_generation(current_generation());
  end_generations(link, main_server);
  return OK;
}

void link_child_init(apr_pool_t*, server_rec* main_server) {
  Retained* link = retained();
  LinkState& state = server_config(main_server).global->link;
  if (!link || !state.load) return;
  state.access = {.directory = static_cast<const Directory*>(state.directory.address()),
                  .load = static_cast<Load*>(state.load.address()),
                  .nudge = link->nudge,
                  .orders = link->orders,
                  .socket_folder = link->socket_folder,
                  .pid = getpid()};
  if (link->parent == getpid()) return;  // httpd -X: the parent serves
  for (int* descriptor : {&link->control, &link->directory, &link->load, &link->managers_orders})
    close_descriptor(*descriptor);
}

void link_monitor(server_rec* main_server) {
  Retained* link = retained();
  if (!link || link->directory < 0 || link->manager != 0 || is_stopping()) return;
  restart(*link, main_server);
}

void link_child_started(int generation) {
  Retained* link = retained();
  if (!link) return;
  if (auto* known = link->find_generation(generation)) ++known->children;
}

void link_child_ended(server_rec* main_server, int pid, int generation) {
  Retained* link = retained();
  if (!link) return;
  sweep(pid);
  if (auto* known = link->find_generation(generation)) --known->children;
  end_generations(*link, main_server);
  if (is_stopping()) end_well(*link, main_server);
}

}  // namespace cppfcgi
