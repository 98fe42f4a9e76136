#include "server/engine/low_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/index/give_way.h"

namespace vecino::engine {

// Best effort: a container may forbid it, and then the work merely competes on equal terms.
void LowerPriority() {
  index::SetBackground(true);
  const sched_param param{};
  sched_setscheduler(0, SCHED_BATCH, &param);  // 0: this thread
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
}

}  // namespace vecino::engine
