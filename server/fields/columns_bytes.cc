// Columns as bytes; docs/storage_format.md, "Field files".
#include <algorithm>
#include <utility>

#include "server/fields/bytes.h"
#include "server/fields/columns.h"

namespace vecino::fields {

std::string Columns::Serialize() const {
  ByteWriter out;
  out.Value(slots_);
  out.Value(static_cast<uint8_t>(overflow_));
  out.Value(static_cast<uint64_t>(columns_.size()));
  for (const auto& [path, column] : columns_) {
    out.Text(path);
    out.Value(column.types);
    out.Bitmap(column.present);
    out.Bitmap(column.yes);
    out.Bitmap(column.no);
    out.Value(static_cast<uint64_t>(column.texts.size()));
    for (size_t i = 0; i < column.texts.size(); ++i) {
      out.Text(column.texts[i]);
      const Text& place = column.text_places[i];
      out.Value(static_cast<uint8_t>(place.bitmap >= 0));
      if (place.bitmap >= 0) {
        out.Bitmap(column.text_bitmaps[static_cast<size_t>(place.bitmap)]);
      } else {
        const auto begin = column.text_slots.begin() + place.begin;
        out.Array(std::vector<uint32_t>(begin, begin + place.count));
      }
    }
    out.Array(column.numbers);
    out.Array(column.number_slots);
    out.Array(column.times);
    out.Array(column.time_slots);
  }
  return out.Take();
}

absl::StatusOr<std::shared_ptr<const Columns>> Columns::Parse(std::string_view bytes) {
  ByteReader in(bytes);
  std::shared_ptr<Columns> result(new Columns());
  const auto slots = in.Value<uint32_t>();
  result->slots_ = slots;
  const auto bad = [&](const std::vector<uint32_t>& list) {
    return std::any_of(list.begin(), list.end(), [&](uint32_t slot) { return slot >= slots; });
  };
  result->overflow_ = in.Value<uint8_t>() != 0;
  const uint64_t columns = in.Count(8);
  for (uint64_t c = 0; c < columns && in.ok(); ++c) {
    std::string path(in.Text());
    Column column;
    column.types = in.Value<uint8_t>();
    column.present = in.Bitmap(slots);
    column.yes = in.Bitmap(slots);
    column.no = in.Bitmap(slots);
    const uint64_t texts = in.Count(9);
    for (uint64_t i = 0; i < texts && in.ok(); ++i) {
      std::string text(in.Text());
      if (!column.texts.empty() && text <= column.texts.back()) in.Fail();
      Text place;
      if (in.Value<uint8_t>() != 0) {
        place.bitmap = static_cast<int32_t>(column.text_bitmaps.size());
        column.text_bitmaps.push_back(in.Bitmap(slots));
        place.count = static_cast<uint32_t>(column.text_bitmaps.back().cardinality());
      } else {
        const std::vector<uint32_t> list = in.Array<uint32_t>();
        if (bad(list)) in.Fail();
        place.begin = static_cast<uint32_t>(column.text_slots.size());
        place.count = static_cast<uint32_t>(list.size());
        column.text_slots.insert(column.text_slots.end(), list.begin(), list.end());
      }
      column.texts.push_back(std::move(text));
      column.text_places.push_back(place);
    }
    column.numbers = in.Array<double>();
    column.number_slots = in.Array<uint32_t>();
    column.times = in.Array<int64_t>();
    column.time_slots = in.Array<uint32_t>();
    if (column.numbers.size() != column.number_slots.size() ||
        column.times.size() != column.time_slots.size() || bad(column.number_slots) ||
        bad(column.time_slots)) {
      in.Fail();
    }
    if (!result->columns_.emplace(std::move(path), std::move(column)).second) in.Fail();
  }
  if (!in.done()) return absl::DataLossError("the columns of a field file are not whole");
  result->Finish();
  return std::shared_ptr<const Columns>(std::move(result));
}

}  // namespace vecino::fields
