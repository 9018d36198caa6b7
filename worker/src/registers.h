// What a crash's record needs of a thread's registers. The one file that depends on the machine.
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace cppfcgi {

#if defined(__x86_64__)

inline std::uint64_t program_counter(const ucontext_t& context) {
  return static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
}
inline std::uint64_t stack_pointer(const ucontext_t& context) {
  return static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RSP]);
}
// Makes of a thread that has just called a function one that is about to go on behind the call.
inline void undo_call(ucontext_t& context) {
  auto& registers = context.uc_mcontext.gregs;
  registers[REG_RIP] = *reinterpret_cast<const greg_t*>(registers[REG_RSP]);
  registers[REG_RSP] += 8;
}

#elif defined(__aarch64__)

inline std::uint64_t program_counter(const ucontext_t& context) { return context.uc_mcontext.pc; }
inline std::uint64_t stack_pointer(const ucontext_t& context) { return context.uc_mcontext.sp; }
inline void undo_call(ucontext_t& context) { context.uc_mcontext.pc = context.uc_mcontext.regs[30]; }

#else

inline std::uint64_t program_counter(const ucontext_t&) { return 0; }
inline std::uint64_t stack_pointer(const ucontext_t&) { return 0; }
inline void undo_call(ucontext_t&) {}

#endif

}  // namespace cppfcgi
