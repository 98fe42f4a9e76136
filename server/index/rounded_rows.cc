#include "server/index/rounded_rows.h"

namespace vecino::index {

RoundedRows::RoundedRows(Metric metric, size_t d)
    : metric_(metric),
      d_(d),
      codes_(static_cast<uint8_t*>(::operator new(Bytes(metric, d), kAlignment))),
      scales_(reinterpret_cast<float*>(codes_.get() + kRows * Int8Stride(d))),
      errors_(scales_ + kRows),
      norms_(errors_ + kRows),
      squared_(metric == Metric::kL2 ? norms_ + kRows : nullptr) {}

void RoundedRows::Set(size_t i, const float* row) {
  uint8_t* const codes = codes_.get() + i * Int8Stride(d_);
  scales_[i] = QuantizeRow(row, d_, codes);
  errors_[i] = RowError(row, d_, codes, scales_[i]);
  norms_[i] = RowNorm(row, d_, squared_ == nullptr ? nullptr : squared_ + i);
}

}  // namespace vecino::index
