#include "client/cli/interrupt.h"

namespace vecino::cli {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler stores it

}  // namespace

const std::atomic<bool>& Interrupted() { return interrupted; }

void CatchInterrupt(std::initializer_list<int> signals) {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : signals) sigaction(signal, &action, nullptr);
}

void LeaveInterrupt(std::initializer_list<int> signals) {
  for (const int signal : signals) std::signal(signal, SIG_DFL);
}

}  // namespace vecino::cli
