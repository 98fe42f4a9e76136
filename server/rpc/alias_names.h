// Aliases in requests: replaced by the collections they point to, before a handler sees them.
#pragma once

#include <string>
#include <type_traits>

#include "server/engine/engine.h"

namespace vecino::rpc {

// One call's look-ups: whatever an alias is pointed to meanwhile, all names of one call lead to the
// same collection. So replies, page tokens and errors carry the names of real collections, and
// handlers need not know of aliases.
//
// Thread safety: none; one call uses it.
class AliasNames {
 public:
  explicit AliasNames(const engine::Engine& engine) : engine_(engine) {}

  // *name: `collections/{x}` or a name below it; any other text, and x that is no alias, stays.
  void Resolve(std::string* name);

 private:
  const engine::Engine& engine_;
  std::string alias_, target_;  // looked up last; empty: none
};

// Resolves the names of a request: `name`, `parent`, `collection`, those of its documents, of the
// requests in it and of a collection that it changes. Which of them it has is found out when it is
// compiled.
template <class Request>
void ResolveAliases(const engine::Engine& engine, Request* request) {
  AliasNames names(engine);
  [[maybe_unused]] const auto resolve = [&](std::string* name) { names.Resolve(name); };
  if constexpr (requires { resolve(request->mutable_name()); }) {
    resolve(request->mutable_name());
  }
  if constexpr (requires { resolve(request->mutable_parent()); }) {
    resolve(request->mutable_parent());
  }
  if constexpr (requires { resolve(request->mutable_collection()); }) {
    resolve(request->mutable_collection());
  }
  if constexpr (requires {
                  request->update_mask();
                  resolve(request->mutable_collection()->mutable_name());
                }) {
    if (request->has_collection()) resolve(request->mutable_collection()->mutable_name());
  }
  if constexpr (requires { resolve(request->mutable_document()->mutable_name()); }) {
    if (request->has_document()) resolve(request->mutable_document()->mutable_name());
  }
  if constexpr (requires { resolve(request->mutable_documents(0)->mutable_name()); }) {
    for (auto& document : *request->mutable_documents()) resolve(document.mutable_name());
  }
  if constexpr (requires { resolve(request->mutable_requests(0)->mutable_parent()); }) {
    for (auto& one : *request->mutable_requests()) resolve(one.mutable_parent());
  }
}

}  // namespace vecino::rpc
