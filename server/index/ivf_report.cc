#include "server/index/ivf_report.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace vecino::index {

void TellOfIvf(const std::vector<IvfPart>& parts, const IvfWork& work, bool filtered,
               SearchReport* report) {
  int64_t rows = 0;
  for (const IvfPart& part : parts) rows += part.segment->size();
  const int nlist = parts.front().segment->generation()->nlist();
  const bool all = work.breadth == 0;
  report->Part(rows, work.recall, all);
  report->scanned += work.scanned + work.gathered;  // both, where it looked into lists first
  report->rescored += work.scored;
  report->all_codes = report->all_codes || work.all_codes;
  if (!all) {
    report->Lists(work.nprobe, nlist);
    report->reranked += work.reranked;
  }
  if (report->words == nullptr) return;
  const std::string of = absl::StrCat(parts.size(), parts.size() == 1 ? " segment" : " segments",
                                      " of ", rows, " rows");
  report->words->push_back(
      all ? absl::StrCat(of, ": ", filtered ? "all that pass, " : "all, ", work.gathered,
                         ", by 8-bit rows, ", work.scored, " by floats")
          : absl::StrCat(of, ": ", work.nprobe, " of ", nlist, " lists with ", work.scanned,
                         " rows, ", work.reranked, " of them by 8-bit rows, ", work.scored,
                         " by floats"));
}

}  // namespace vecino::index
