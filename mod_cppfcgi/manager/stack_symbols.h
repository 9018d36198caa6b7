// What the process that reads stacks does (stack_reader.h): takes threads' stacks and names functions, with libdw. A
// shell; never called in the manager itself. Each writes lines of crash_text.h to `out`, as soon as it knows them.
#pragma once

#include <sys/types.h>

#include "shared/worker_note.h"

namespace cppfcgi {

void write_symbols(const CrashRecord& record, int program, int out);
void write_threads(pid_t pid, int out);

}  // namespace cppfcgi
