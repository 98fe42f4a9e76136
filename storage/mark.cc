#include "storage/mark.h"

#include "absl/strings/str_cat.h"
#include "storage/codec.h"
#include "storage/keys.h"
#include "storage/records.h"

namespace vecino::storage {
namespace {

constexpr int kMaxCode = 16;  // UNAUTHENTICATED

}  // namespace

absl::Status CheckMark(const Mark& mark) {
  if (mark.token.empty() || mark.token.size() > Mark::kMaxTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("token of a mark of ", mark.token.size(),
                                                   " bytes, must be 1 to ", Mark::kMaxTokenBytes));
  }
  if (mark.failures.size() > Mark::kMaxFailures) {
    return absl::InvalidArgumentError(absl::StrCat("mark with ", mark.failures.size(),
                                                   " failures, at most ", Mark::kMaxFailures));
  }
  uint64_t before = 0;
  for (const Mark::Failure& failure : mark.failures) {
    if (failure.item <= before || failure.item > mark.through || failure.code < 1 ||
        failure.code > kMaxCode) {
      return absl::InvalidArgumentError(
          absl::StrCat("mark through ", mark.through, " with failure of item ", failure.item,
                       " after ", before, " with code ", failure.code));
    }
    before = failure.item;
  }
  return absl::OkStatus();
}

std::string EncodeMark(const Mark& mark) {
  std::string out;
  AppendByte(kValueVersion, &out);
  AppendVarint(mark.through, &out);
  AppendVarint(mark.all_through, &out);
  AppendSignedVarint(mark.time_us, &out);
  AppendVarint(mark.failures.size(), &out);
  uint64_t before = 0;
  for (const Mark::Failure& failure : mark.failures) {
    AppendVarint(failure.item - before, &out);
    AppendByte(static_cast<uint8_t>(failure.code), &out);
    before = failure.item;
  }
  return out;
}

absl::StatusOr<Mark> DecodeMark(std::string_view bytes) {
  const absl::Status broken = absl::DataLossError("mark is malformed");
  ByteReader reader(bytes);
  uint8_t version = 0;
  if (!reader.ReadByte(&version)) return broken;
  if (version != kValueVersion) {
    return absl::DataLossError(absl::StrCat("mark has version ", static_cast<int>(version),
                                            ", this program knows ",
                                            static_cast<int>(kValueVersion)));
  }
  Mark mark;
  uint64_t count = 0;
  if (!reader.ReadVarint(&mark.through) || !reader.ReadVarint(&mark.all_through) ||
      !reader.ReadSignedVarint(&mark.time_us) || !reader.ReadVarint(&count) ||
      count > Mark::kMaxFailures) {
    return broken;
  }
  uint64_t before = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t step = 0;
    uint8_t code = 0;
    if (!reader.ReadVarint(&step) || !reader.ReadByte(&code) || step == 0 ||
        step > mark.through - before || code < 1 || code > kMaxCode) {
      return broken;
    }
    before += step;
    mark.failures.push_back({before, code});
  }
  if (!reader.done()) return broken;
  return mark;
}

std::string MarkKey(uint32_t uid, uint16_t shard, std::string_view token) {
  return MetaKey(MetaKind::kMark, uid, shard).append(token);
}

}  // namespace vecino::storage
