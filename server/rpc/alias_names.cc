#include "server/rpc/alias_names.h"

#include <optional>
#include <string_view>

#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {

void AliasNames::Resolve(std::string* name) {
  static const std::string prefix = CollectionName("");
  if (!name->starts_with(prefix)) return;
  const std::string_view id =
      std::string_view(*name).substr(prefix.size(), name->find('/', prefix.size()) - prefix.size());
  if (id.empty()) return;
  if (id != alias_) {
    const std::optional<std::string> target = engine_.AliasTarget(id);
    if (!target.has_value()) return;
    alias_ = std::string(id);
    target_ = *target;
  }
  *name = Concat(prefix, target_, std::string_view(*name).substr(prefix.size() + id.size()));
}

}  // namespace vecino::rpc
