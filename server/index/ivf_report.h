// What a search of AUTO's lists says of itself.
#pragma once

#include <vector>

#include "server/index/ivf_search.h"
#include "server/index/search_report.h"

namespace vecino::index {

// work: of one search of `parts`, at least one. filtered: under a filter.
void TellOfIvf(const std::vector<IvfPart>& parts, const IvfWork& work, bool filtered,
               SearchReport* report);

}  // namespace vecino::index
