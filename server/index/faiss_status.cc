#include "server/index/faiss_status.h"

#include <omp.h>

#include <exception>
#include <new>
#include <stdexcept>

#include "absl/strings/str_cat.h"

namespace vecino::index {

OneOpenMpThread::OneOpenMpThread() : before_(omp_get_max_threads()) {
  if (before_ != 1) omp_set_num_threads(1);
}

OneOpenMpThread::~OneOpenMpThread() {
  if (before_ != 1) omp_set_num_threads(before_);
}

absl::Status CatchFaiss(absl::string_view what, absl::FunctionRef<absl::Status()> fn) {
  const OneOpenMpThread one;
  try {
    return fn();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory to ", what));
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError(absl::StrCat("no address space to ", what));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("FAISS failed to ", what, ": ", e.what()));
  }
}

}  // namespace vecino::index
