#include "server/engine/recall_probes.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/maintenance.h"
#include "server/engine/registry.h"
#include "server/index/give_way.h"

namespace vecino::engine {

RecallSampler::Probe ProbeAll(std::shared_ptr<const Registry> registry,
                              const Maintenance* maintenance) {
  return [registry = std::move(registry), maintenance,
          last = std::string()](absl::FunctionRef<absl::Status()> checkpoint) mutable {
    if (index::SearchedLately() || maintenance->Backlog() > 0) return false;
    std::vector<std::shared_ptr<Collection>> all = registry->All();
    // Those behind the last one first.
    const auto next = std::find_if(all.begin(), all.end(),
                                   [&](const auto& collection) { return collection->id() > last; });
    std::rotate(all.begin(), next, all.end());
    for (const std::shared_ptr<Collection>& collection : all) {
      if (!checkpoint().ok()) return false;
      if (!collection->ProbeRecall(checkpoint)) continue;
      last = collection->id();
      return true;
    }
    return false;
  };
}

}  // namespace vecino::engine
