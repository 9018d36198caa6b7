#include "worker/src/crash_recorder.h"

#include <cppfcgi/request.h>
#include <cxxabi.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <typeinfo>

#include "worker/src/build_id.h"
#include "worker/src/registers.h"

namespace cppfcgi {

constinit thread_local const Request* request_under_way = nullptr;

namespace {

constexpr std::size_t alternate_stack_bytes = std::size_t{64} << 10;  // beyond what the kernel puts there
constexpr std::size_t longest_uri = 1'024;
constexpr std::size_t longest_name = 128;  // of what else a request has
constexpr int patience_ms = 200;           // with a manager that does not read
constexpr int others_patience_ms = 2'000;  // of other threads that crash, with the first

// A signal handler gets no argument of ours: this is the library's only global, and it is null outside serve().
constinit std::atomic<CrashRecorder*> the_recorder{nullptr};

std::uint64_t take_hex(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  text.remove_prefix(std::min(text.size(), static_cast<std::size_t>(end - text.data()) + 1));
  return error == std::errc() ? value : 0;
}

std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

// The kernel raised it, and says where.
bool has_address(const siginfo_t& info) { return info.si_code > 0 && info.si_signo != SIGSYS; }

// As much of the text as fits, ended by NUL.
void copy_text(std::span<char> into, const char* text) {
  const std::size_t size = strnlen(text, into.size() - 1);
  std::memcpy(into.data(), text, size);
  into[size] = '\0';
}

// Once the handler returns, the signal comes as if nobody had handled it: to the same thread, with the same siginfo.
void die_of(int signal, siginfo_t* info) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, nullptr);
  const auto thread = static_cast<pid_t>(syscall(SYS_gettid));
  if (syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signal, info) < 0) syscall(SYS_tgkill, getpid(), thread, signal);
}

// Calls `visit` with each frame's address, innermost first, until it returns false.
template <class Visit>
void walk_stack(Visit visit) {
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* argument) {
        return (*static_cast<Visit*>(argument))(_Unwind_GetIP(context)) ? _URC_NO_REASON : _URC_END_OF_STACK;
      },
      &visit);
}

}  // namespace

// ---- alternate stacks ----

AlternateStack::AlternateStack() {
  stack_t present{};
  if (sigaltstack(nullptr, &present) < 0 || (present.ss_flags & SS_DISABLE) == 0) return;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const long least = sysconf(_SC_MINSIGSTKSZ);
  std::size_t bytes = alternate_stack_bytes + (least > 0 ? static_cast<std::size_t>(least) : 0);
  bytes = (bytes + page - 1) / page * page + page;
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;  // then a stack overflow leaves no record
  mprotect(memory, page, PROT_NONE);
  const stack_t ours{.ss_sp = static_cast<char*>(memory) + page, .ss_flags = 0, .ss_size = bytes - page};
  if (sigaltstack(&ours, nullptr) < 0) {
    munmap(memory, bytes);
    return;
  }
  memory_ = memory;
  bytes_ = bytes;
}

AlternateStack::~AlternateStack() {
  if (memory_ == nullptr) return;
  const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&none, nullptr);
  munmap(memory_, bytes_);
}

// ---- who watches ----

CrashRecorder::CrashRecorder(int notify) : notify_(notify), pid_(getpid()) {
  walk_stack([](std::uint64_t) { return true; });  // loads and binds what it needs
  the_recorder.store(this);
  watch();
  on_exit(on_exit_called, nullptr);  // for good; it does nothing without a recorder
}

void CrashRecorder::watch() {
  struct sigaction ours {};
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&ours.sa_mask);  // so a fault in the handler ends the process at once
  for (std::size_t i = 0; i < signals.size(); ++i) {
    sigaction(signals[i], nullptr, &before_[i]);
    const bool is_free = (before_[i].sa_flags & SA_SIGINFO) == 0 && before_[i].sa_handler == SIG_DFL;
    if (is_free) sigaction(signals[i], &ours, nullptr);
  }
  terminate_before_ = std::set_terminate(on_terminate);
}

CrashRecorder::~CrashRecorder() {
  for (std::size_t i = 0; i < signals.size(); ++i) {
    struct sigaction present {};
    sigaction(signals[i], nullptr, &present);
    if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_signal) {
      sigaction(signals[i], &before_[i], nullptr);
    }
  }
  if (std::get_terminate() == on_terminate) std::set_terminate(terminate_before_);
  the_recorder.store(nullptr);
}

void CrashRecorder::on_signal(int signal, siginfo_t* info, void* context) {
  CrashRecorder* const recorder = the_recorder.load();
  // A process that the application has forked has our handlers, but is no worker.
  if (recorder != nullptr && recorder->pid_ == getpid()) {
    if (!recorder->is_recording_.exchange(true)) {
      recorder->record_signal(*info, *static_cast<ucontext_t*>(context));
    } else {
      poll(nullptr, 0, others_patience_ms);  // another thread has crashed first, and ends us all
    }
  }
  die_of(signal, info);
}

void CrashRecorder::on_exit_called(int status, void*) {
  CrashRecorder* const recorder = the_recorder.load();
  const bool is_wanted = recorder != nullptr && recorder->pid_ == getpid() && request_under_way != nullptr;
  if (is_wanted && !recorder->has_recorded_exit_.exchange(true)) recorder->record_exit(status);
}

void CrashRecorder::on_terminate() {
  CrashRecorder* const recorder = the_recorder.load();
  if (recorder == nullptr) std::abort();
  recorder->note_exception();
  recorder->terminate_before_();
  std::abort();
}

// No signal handler: an exception may be looked at here, and memory allocated, as the standard's own handler does it.
void CrashRecorder::note_exception() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  if (type == nullptr || has_exception_.load()) return;
  char* const name = abi::__cxa_demangle(type->name(), nullptr, nullptr, nullptr);
  copy_text(exception_type_, name != nullptr ? name : type->name());
  std::free(name);
  try {
    throw;
  } catch (const std::exception& exception) {
    copy_text(exception_what_, exception.what());
  } catch (...) {
    exception_what_[0] = '\0';
  }
  has_exception_.store(true);
}

// ---- the record ----

void CrashRecorder::record_signal(const siginfo_t& info, ucontext_t& context) {
  write_signal(info, context);
  flush();
  if (request_under_way != nullptr) write_request(*request_under_way);
  flush();
  find_modules();
  write_frames(context);
  if (has_manager()) writer_.end();
  flush();
}

void CrashRecorder::record_exit(int status) {
  if (has_manager()) {
    writer_.begin();
    writer_.number(note::exit, status);
  } else {
    writer_.words("cppfcgi: a handler has called exit(");
    writer_.decimal(status);
    writer_.words(")");
    writer_.end_line();
  }
  write_thread();
  write_request(*request_under_way);
  if (has_manager()) writer_.end();
  flush();
}

void CrashRecorder::write_signal(const siginfo_t& info, const ucontext_t& context) {
  if (!has_manager()) {
    const char* const name = sigabbrev_np(info.si_signo);
    writer_.words("cppfcgi: crashed: SIG");
    writer_.words(name != nullptr ? name : "?");
    if (has_address(info)) {
      writer_.words(" at ");
      writer_.hex(reinterpret_cast<std::uintptr_t>(info.si_addr));
    }
    return writer_.end_line();
  }
  writer_.begin();
  writer_.number(note::signal, info.si_signo);
  writer_.number(note::code, info.si_code);
  if (has_address(info)) writer_.address(note::address, reinterpret_cast<std::uintptr_t>(info.si_addr));
  if (info.si_code == SI_USER || info.si_code == SI_TKILL) writer_.number(note::sender, info.si_pid);
  writer_.address(note::pc, program_counter(context));
  writer_.address(note::sp, stack_pointer(context));
  write_thread();
  if (has_exception_.load()) write_exception();
}

void CrashRecorder::write_thread() {
  if (!has_manager()) return;
  std::array<char, 17> name{};
  prctl(PR_GET_NAME, name.data());
  writer_.number(note::thread, syscall(SYS_gettid));
  writer_.text(note::thread_name, name.data());
}

void CrashRecorder::write_exception() {
  writer_.text(note::exception, exception_type_.data());
  writer_.text(note::what, exception_what_.data());
}

void CrashRecorder::write_request(const Request& request) {
  const std::string_view id = request.unique_id().substr(0, longest_name);
  const std::string_view method = request.method().substr(0, longest_name);
  const std::string_view uri = request.uri().substr(0, longest_uri);
  const std::string_view client = request.param("REMOTE_ADDR").substr(0, longest_name);
  if (has_manager()) {
    writer_.text(note::request_id, id);
    writer_.text(note::method, method);
    writer_.text(note::uri, uri);
    return writer_.text(note::client, client);
  }
  writer_.words("cppfcgi: in request");
  for (const std::string_view word : {id, method, uri, client}) {
    if (word.empty()) continue;
    writer_.words(" ");
    writer_.words(word);
  }
  writer_.end_line();
}

void CrashRecorder::write_frames(ucontext_t& context) {
  const ucontext_t before = context;
  std::size_t count = 0;
  write_frame(count++, program_counter(context));
  // A call of what is no code: nobody can unwind from there, but from where it was called.
  if (module_count_ > 0 && find_module(program_counter(context)) == nullptr) {
    undo_call(context);
    write_frame(count++, program_counter(context));
  }
  bool has_begun = false;  // the first frames are this handler's own
  walk_stack([&](std::uint64_t address) {
    if (has_begun && address != 0) write_frame(count++, address);
    has_begun = has_begun || address == program_counter(context);
    return address != 0 && count < max_note_frames;
  });
  context.uc_mcontext = before.uc_mcontext;
}

// One write each: the next may be one too many.
void CrashRecorder::write_frame(std::size_t number, std::uint64_t address) {
  if (has_manager()) {
    writer_.address(note::frame, address);
    return flush();
  }
  writer_.words("cppfcgi: #");
  writer_.decimal(static_cast<std::int64_t>(number));
  writer_.words(" ");
  writer_.hex(address);
  if (const Module* const module = find_module(address)) {
    writer_.words(" ");
    writer_.words(module->path);
    writer_.words("+");
    writer_.hex(address - module->start + module->offset);
  }
  writer_.end_line();
  flush();
}

void CrashRecorder::flush() {
  std::string_view left = writer_.text();
  while (!left.empty() && !is_lost_) {
    const int to = has_manager() ? notify_ : STDERR_FILENO;
    const ssize_t written = ::write(to, left.data(), left.size());
    if (written > 0) {
      left.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd item{.fd = to, .events = POLLOUT, .revents = 0};
      is_lost_ = poll(&item, 1, patience_ms) != 1;
    } else {
      is_lost_ = errno != EINTR;
    }
  }
  writer_.clear();
}

// ---- what is mapped ----

void CrashRecorder::find_modules() {
  const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  std::size_t have = 0;
  for (;;) {
    const ssize_t got = read(file, maps_.data() + have, maps_.size() - have);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
    std::string_view text(maps_.data(), have);
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      take_mapping(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
    have = text.size();
    std::memmove(maps_.data(), text.data(), have);
  }
  close(file);
}

// "7f12a000-7f12c000 r-xp 00001000 08:01 1234       /usr/lib/libc.so.6"
void CrashRecorder::take_mapping(std::string_view line) {
  Module module{};
  module.start = take_hex(line);
  module.end = take_hex(line);
  const std::string_view rights = take_word(line);
  module.offset = take_hex(line);
  const std::string_view device = take_word(line);
  const std::string_view inode = take_word(line);
  std::from_chars(inode.data(), inode.data() + inode.size(), module.inode);
  const std::string_view path = line.substr(std::min(line.size(), line.find('/')));
  if (path.empty() || rights.size() < 3) return;
  if (module.offset == 0 && rights[0] == 'r') {
    image_ = {reinterpret_cast<const unsigned char*>(module.start), module.end - module.start};
    image_inode_ = module.inode;
  }
  if (rights[2] != 'x' || module_count_ == modules_.size()) return;
  module.device = keep_name(device);
  module.path = keep_name(path);
  if (module.path.size() != path.size()) return;  // no room left
  modules_[module_count_++] = module;
  if (!has_manager()) return;
  if (module.inode == image_inode_) module.build_id = find_build_id(image_);
  writer_.module(module);
  flush();
}

std::string_view CrashRecorder::keep_name(std::string_view name) {
  const std::size_t size = std::min(name.size(), names_.size() - names_bytes_);
  char* const at = names_.data() + names_bytes_;
  std::memcpy(at, name.data(), size);
  names_bytes_ += size;
  return {at, size};
}

const CrashRecorder::Module* CrashRecorder::find_module(std::uint64_t address) const {
  const auto end = modules_.begin() + static_cast<std::ptrdiff_t>(module_count_);
  const auto found = std::find_if(modules_.begin(), end, [address](const Module& module) {
    return module.start <= address && address < module.end;
  });
  return found == end ? nullptr : &*found;
}

}  // namespace cppfcgi
