#include "server/engine/low_priority.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

// sched_setattr(2), which glibc 2.36 has no function for; <linux/sched/types.h> and <sched.h> do
// not go together everywhere.
struct SchedAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;  // nanoseconds
};
static_assert(sizeof(SchedAttributes) == 48);

constexpr int kLowest = 19;
// The shortest that the kernel takes.
constexpr uint64_t kSliceNs = 100'000;

}  // namespace

// Best effort: a container may forbid it, and then the work merely competes on equal terms.
void LowerPriority() {
  index::SetBackground(true);
  // Linux from 6.6 on (EEVDF) lets a thread use up its slice, some milliseconds, before one that
  // wakes up gets the core, whatever their priorities; from 6.12 on a thread may ask for a short
  // one. Older kernels do not look at it.
  SchedAttributes attributes{};
  attributes.size = sizeof attributes;
  attributes.policy = SCHED_BATCH;
  attributes.nice = kLowest;
  attributes.runtime = kSliceNs;
  if (syscall(SYS_sched_setattr, 0, &attributes, 0u) == 0) return;  // 0: this thread
  const sched_param param{};
  sched_setscheduler(0, SCHED_BATCH, &param);
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kLowest);
}

}  // namespace vecino::engine
