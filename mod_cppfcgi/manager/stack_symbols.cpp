#include "mod_cppfcgi/manager/stack_symbols.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mod_cppfcgi/manager/crash_text.h"
#include "mod_cppfcgi/manager/traced_process.h"
#include "shared/fd.h"
#include "shared/result.h"

namespace cppfcgi {
namespace {

void write_all(int out, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(out, text.data(), text.size());
    if (written <= 0) _exit(1);  // nobody wants it any more
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::string demangled(const char* name) {
  if (name == nullptr) return "";
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, nullptr),
                                                         &std::free);
  return text ? text.get() : name;
}

struct EndDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};
using DwflPtr = std::unique_ptr<Dwfl, EndDwfl>;

struct EndElf {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfPtr = std::unique_ptr<Elf, EndElf>;

// ---- one address ----

// The functions at this address, innermost first: those that were inlined there, and the one they are in.
class Place {
 public:
  // `is_return`: the call before the address is meant.
  Place(Dwfl* dwfl, std::uint64_t address, bool is_return)
      : address_(address), looked_up_(address - (is_return ? 1 : 0)), module_(dwfl_addrmodule(dwfl, looked_up_)) {}

  Frames frames() {
    if (module_ == nullptr) return {};
    Frames frames{outermost()};
    if (Dwarf_Die* const unit = dwfl_module_addrdie(module_, looked_up_, &bias_)) add_inlined(unit, frames);
    return frames;
  }

 private:
  Frame outermost() const {
    Frame frame{.address = address_};
    GElf_Off offset = 0;
    GElf_Sym symbol;
    frame.function = demangled(dwfl_module_addrinfo(module_, looked_up_, &offset, &symbol, nullptr, nullptr, nullptr));
    if (Dwfl_Line* const line = dwfl_module_getsrc(module_, looked_up_)) {
      int number = 0;
      if (const char* const file = dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr)) {
        frame.file = file;
        frame.line = static_cast<std::uint64_t>(number);
      }
    }
    const char* path = nullptr;
    const char* const name = dwfl_module_info(module_, nullptr, nullptr, nullptr, nullptr, nullptr, &path, nullptr);
    frame.module = path != nullptr ? path : name != nullptr ? name : "";
    GElf_Addr module_bias = 0;
    dwfl_module_getelf(module_, &module_bias);
    frame.offset = address_ - module_bias;
    return frame;
  }

  // The line of the outermost that is known so far is that of the innermost: each takes its place from the next.
  void add_inlined(Dwarf_Die* unit, Frames& frames) const {
    Dwarf_Die* scopes = nullptr;
    const int count = dwarf_getscopes(unit, looked_up_ - bias_, &scopes);
    const std::unique_ptr<Dwarf_Die, decltype(&std::free)> owner(scopes, &std::free);
    for (int i = 0; i < count; ++i) {
      if (dwarf_tag(&scopes[i]) == DW_TAG_subprogram) break;
      if (dwarf_tag(&scopes[i]) != DW_TAG_inlined_subroutine) continue;
      Frame inlined = frames.back();
      inlined.function = function_name(&scopes[i]);
      frames.insert(frames.end() - 1, std::move(inlined));
      set_call(unit, &scopes[i], frames.back());
    }
  }

  static std::string function_name(Dwarf_Die* die) {
    Dwarf_Attribute attribute;
    for (const unsigned kind : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
      if (Dwarf_Attribute* const found = dwarf_attr_integrate(die, kind, &attribute)) {
        return demangled(dwarf_formstring(found));
      }
    }
    const char* const name = dwarf_diename(die);
    return name != nullptr ? name : "";
  }

  static void set_call(Dwarf_Die* unit, Dwarf_Die* die, Frame& frame) {
    Dwarf_Attribute attribute;
    Dwarf_Word number = 0;
    if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute), &number) == 0) frame.line = number;
    Dwarf_Files* files = nullptr;
    if (dwarf_getsrcfiles(unit, &files, nullptr) != 0) return;
    if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute), &number) != 0) return;
    if (const char* const file = dwarf_filesrc(files, number, nullptr, nullptr)) frame.file = file;
  }

  std::uint64_t address_;
  std::uint64_t looked_up_;
  Dwfl_Module* module_;
  Dwarf_Addr bias_ = 0;
};

// ---- a crash: the process is gone, its files are there ----

std::string hex(const unsigned char* bytes, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

// The file at the module's path is the one that was mapped, not what has been put there since.
bool is_same_file(const MappedModule& module, Elf* elf, const struct stat& status) {
  if (!module.build_id.empty()) {
    const void* id = nullptr;
    const ssize_t size = dwelf_elf_gnu_build_id(elf, &id);
    return size > 0 && hex(static_cast<const unsigned char*>(id), static_cast<std::size_t>(size)) == module.build_id;
  }
  const std::string device = fmt::format("{:02x}:{:02x}", major(status.st_dev), minor(status.st_dev));
  return status.st_ino == module.inode && device == module.device;
}

// What is to be added to the file's own addresses; nullopt: this mapping is not of it.
std::optional<std::uint64_t> bias_of(const MappedModule& module, Elf* elf) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr || segment.p_type != PT_LOAD) continue;
    if (segment.p_offset + segment.p_filesz <= module.offset) continue;
    if (segment.p_offset >= module.offset + (module.end - module.start)) continue;
    if ((segment.p_flags & PF_X) != 0) return module.start - module.offset - segment.p_vaddr + segment.p_offset;
  }
  return std::nullopt;
}

// False: this is not the file. On success dwfl owns it.
bool report_file(Dwfl* dwfl, const MappedModule& module, Fd file) {
  struct stat status {};
  if (!file || fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) return false;
  std::optional<std::uint64_t> bias;
  {
    const ElfPtr elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
    if (!elf || elf_kind(elf.get()) != ELF_K_ELF || !is_same_file(module, elf.get(), status)) return false;
    bias = bias_of(module, elf.get());
  }
  const char* const path = module.path.c_str();
  if (!bias || dwfl_report_elf(dwfl, path, path, file.get(), *bias, true) == nullptr) return false;
  file.release();
  return true;
}

// A worker may have named any path: nothing is read but regular files.
void report_module(Dwfl* dwfl, const MappedModule& module, int program) {
  Fd file(open(module.path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (report_file(dwfl, module, std::move(file)) || program < 0) return;
  report_file(dwfl, module, Fd(dup(program)));
}

DwflPtr report_modules(const CrashRecord& record, int program) {
  static const Dwfl_Callbacks callbacks{.find_elf = dwfl_build_id_find_elf,
                                        .find_debuginfo = dwfl_standard_find_debuginfo,
                                        .section_address = dwfl_offline_section_address,
                                        .debuginfo_path = nullptr};
  DwflPtr dwfl(dwfl_begin(&callbacks));
  if (!dwfl) return dwfl;
  std::set<std::string_view> reported;
  dwfl_report_begin(dwfl.get());
  for (const MappedModule& module : record.modules) {
    const bool is_wanted = std::any_of(record.frames.begin(), record.frames.end(), [&](std::uint64_t address) {
      return module.start <= address && address <= module.end;
    });
    if (is_wanted && reported.insert(module.path).second) report_module(dwfl.get(), module, program);
  }
  dwfl_report_end(dwfl.get(), nullptr, nullptr);
  return dwfl;
}

// ---- a living process ----

Result<DwflPtr> report_process(pid_t pid) {
  static const Dwfl_Callbacks callbacks{.find_elf = dwfl_linux_proc_find_elf,
                                        .find_debuginfo = dwfl_standard_find_debuginfo,
                                        .section_address = dwfl_offline_section_address,
                                        .debuginfo_path = nullptr};
  DwflPtr dwfl(dwfl_begin(&callbacks));
  if (!dwfl) return Error{0, dwfl_errmsg(-1)};
  dwfl_report_begin(dwfl.get());
  const int failure = dwfl_linux_proc_report(dwfl.get(), pid);
  dwfl_report_end(dwfl.get(), nullptr, nullptr);
  const std::string context = fmt::format("read the maps of process {}", pid);
  if (failure > 0) return posix_error(context, failure);
  if (failure < 0) return Error{0, context + ": " + dwfl_errmsg(-1)};
  return dwfl;
}

struct Address {
  std::uint64_t value = 0;
  bool is_return = false;
};

int take_frame(Dwfl_Frame* state, void* argument) {
  auto& addresses = *static_cast<std::vector<Address>*>(argument);
  Dwarf_Addr pc = 0;
  bool is_activation = false;
  if (!dwfl_frame_pc(state, &pc, &is_activation)) return DWARF_CB_ABORT;
  addresses.push_back({pc, !is_activation});
  return addresses.size() < max_note_frames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

struct Snapshot {
  ThreadStack thread;
  std::vector<Address> addresses;
};

// While its threads are held: what needs their memory and registers, no more.
std::vector<Snapshot> take_snapshots(Dwfl* dwfl, const TracedProcess& process) {
  std::vector<Snapshot> snapshots;
  for (const TracedProcess::Thread& thread : process.threads()) {
    Snapshot snapshot{.thread = {.id = thread.id, .name = thread.name, .state = thread.state}, .addresses = {}};
    if (!thread.is_held) {
      snapshot.thread.failure = "it does not stop, so its stack cannot be read";
    } else if (dwfl_getthread_frames(dwfl, thread.id, take_frame, &snapshot.addresses) != 0 &&
               snapshot.addresses.empty()) {
      snapshot.thread.failure = dwfl_errmsg(-1);
    }
    snapshots.push_back(std::move(snapshot));
  }
  return snapshots;
}

void write_addresses(Dwfl* dwfl, const std::vector<Address>& addresses, int out) {
  for (const auto& [address, is_return] : addresses) {
    Frames frames = Place(dwfl, address, is_return).frames();
    if (frames.empty()) frames.push_back({.address = address});
    for (const Frame& frame : frames) write_all(out, encode_frame(frame));
  }
}

}  // namespace

void write_symbols(const CrashRecord& record, int program, int out) {
  elf_version(EV_CURRENT);
  write_all(out, encode_thread({}));
  const DwflPtr dwfl = report_modules(record, program);
  if (!dwfl) return write_all(out, encode_end(dwfl_errmsg(-1)));
  const Frames raw = raw_frames(record);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    Frames frames = Place(dwfl.get(), raw[i].address, i > 0).frames();
    if (frames.empty()) frames.push_back(raw[i]);
    for (const Frame& frame : frames) write_all(out, encode_frame(frame));
  }
  write_all(out, encode_end(""));
}

void write_threads(pid_t pid, int out) {
  elf_version(EV_CURRENT);
  const auto reported = report_process(pid);
  if (!reported) return write_all(out, encode_end(reported.error().what));
  Dwfl* const dwfl = reported->get();
  std::vector<Snapshot> snapshots;
  {
    const auto process = TracedProcess::hold(pid);
    if (!process) return write_all(out, encode_end(process.error().what));
    if (dwfl_linux_proc_attach(dwfl, pid, true) != 0) return write_all(out, encode_end(dwfl_errmsg(-1)));
    snapshots = take_snapshots(dwfl, **process);
  }
  for (const Snapshot& snapshot : snapshots) {
    write_all(out, encode_thread(snapshot.thread));
    write_addresses(dwfl, snapshot.addresses, out);
  }
  write_all(out, encode_end(""));
}

}  // namespace cppfcgi
