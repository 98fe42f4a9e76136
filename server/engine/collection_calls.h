// How calls reach a collection whose embeddings may be switched meanwhile (docs/migration.md).
#pragma once

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/collection.h"

namespace vecino::engine {

// Whether a reply says that something does not exist. Of a side that a migration removed, all does.
template <typename T>
bool SaysNotFound(const absl::StatusOr<T>& reply) {
  return absl::IsNotFound(reply.status());
}
inline bool SaysNotFound(const absl::StatusOr<SearchBatchResult>& reply) {
  if (!reply.ok()) return absl::IsNotFound(reply.status());
  return std::any_of(reply->begin(), reply->end(),
                     [](const auto& one) { return absl::IsNotFound(one.status()); });
}

// Calls `fn` with the collection that `find` gives, while its embeddings are not switched; so with
// the side that callers see when it returns. find: returns StatusOr<shared_ptr<Collection>>.
template <typename Find, typename Fn>
std::invoke_result_t<Fn, Collection&> WriteCollection(const Find& find, const CallContext& context,
                                                      const Fn& fn) {
  while (true) {
    const auto found = find();
    if (!found.ok()) return found.status();
    const auto pass = (*found)->gate().Enter(context);
    if (!pass.ok()) return pass.status();
    if (*pass) return fn(**found);
  }
}

// The same for one that reads, which waits for nobody: once more where what it read may be of a
// side that was switched from and removed meanwhile.
template <typename Find, typename Fn>
std::invoke_result_t<Fn, const Collection&> ReadCollection(const Find& find, const Fn& fn) {
  auto found = find();
  while (true) {
    if (!found.ok()) return found.status();
    auto reply = fn(**found);
    if (!SaysNotFound(reply)) return reply;
    auto now = find();
    if (now.ok() && *now == *found) return reply;
    found = std::move(now);
  }
}

}  // namespace vecino::engine
