#include "tests/encoder/bert_reference.h"

#include <cmath>
#include <cstddef>
#include <memory>
#include <random>
#include <utility>

namespace vecino::encoder {
namespace {

std::vector<float> Normal(std::mt19937& random, size_t n, float mean, float deviation) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> x(n);
  for (float& one : x) one = normal(random);
  return x;
}

Vector Apply(const LinearWeights& linear, const Vector& x) {
  Vector y(linear.bias.begin(), linear.bias.end());
  for (int o = 0; o < linear.out; ++o) {
    for (int i = 0; i < linear.in; ++i) y[o] += double{linear.weight[o * linear.in + i]} * x[i];
  }
  return y;
}

void AddAndNorm(Vector& x, const Vector& add, const NormWeights& norm, double eps) {
  double mean = 0, variance = 0;
  for (size_t i = 0; i < x.size(); ++i) mean += x[i] += add[i];
  mean /= static_cast<double>(x.size());
  for (const double v : x) variance += (v - mean) * (v - mean);
  variance /= static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + eps) * norm.weight[i] + norm.bias[i];
  }
}

}  // namespace

BertWeights RandomWeights(const BertForm& form) {
  std::mt19937 random(1);
  const auto linear = [&](int out, int in) {
    return LinearWeights{out, in, Normal(random, static_cast<size_t>(out) * in, 0, 0.15f),
                         Normal(random, out, 0, 0.1f)};
  };
  const auto norm = [&] {
    return NormWeights{Normal(random, form.width, 1, 0.1f), Normal(random, form.width, 0, 0.1f)};
  };
  const auto shared = [](std::vector<float> x) {
    return std::make_shared<const std::vector<float>>(std::move(x));
  };
  BertWeights weights{.width = form.width,
                      .heads = form.heads,
                      .norm_eps = 1e-6f,
                      .mean_pooling = form.mean_pooling,
                      .normalize = form.normalize,
                      .vocab_size = form.vocab,
                      .positions = form.positions,
                      .word = shared(Normal(random, form.vocab * form.width, 0, 1)),
                      .position = shared(Normal(random, form.positions * form.width, 0, 0.3f)),
                      .norm = norm(),
                      .layers = {}};
  if (form.mpnet) {
    weights.position_pad_id = 1;
    weights.reach = 290;
    weights.relative_bias = Normal(random, form.heads * 581, 0, 0.5f);
  }
  for (int i = 0; i < form.layers; ++i) {
    weights.layers.push_back({linear(3 * form.width, form.width), linear(form.width, form.width),
                              norm(), linear(form.inner, form.width),
                              linear(form.width, form.inner), norm()});
  }
  return weights;
}

Vector Expected(const BertWeights& w, const std::vector<int32_t>& row) {
  const auto width = static_cast<size_t>(w.width), head = width / static_cast<size_t>(w.heads);
  std::vector<Vector> x;
  ptrdiff_t counted = w.position_pad_id;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto word = w.word->begin() + row[i] * w.width;
    ptrdiff_t at = row[i] == w.position_pad_id ? row[i] : ++counted;
    const auto position = w.position->begin() + at * w.width;
    x.emplace_back(word, word + w.width);
    AddAndNorm(x[i], Vector(position, position + w.width), w.norm, w.norm_eps);
  }
  for (const BertWeights::Layer& layer : w.layers) {
    std::vector<Vector> qkv;
    for (const Vector& token : x) qkv.push_back(Apply(layer.query_key_value, token));
    for (size_t t = 0; t < x.size(); ++t) {
      Vector context(width);
      for (size_t first = 0; first < width; first += head) {
        Vector weight(x.size());
        double sum = 0;
        for (size_t j = 0; j < x.size(); ++j) {
          double score = 0;
          for (size_t i = first; i < first + head; ++i) score += qkv[t][i] * qkv[j][width + i];
          if (!w.relative_bias.empty()) {
            score += w.relative_bias[first / head * (2 * w.reach + 1) + w.reach + j - t];
          }
          sum += weight[j] = std::exp(score);
        }
        for (size_t j = 0; j < x.size(); ++j) {
          for (size_t i = first; i < first + head; ++i) {
            context[i] += weight[j] / sum * qkv[j][2 * width + i];
          }
        }
      }
      AddAndNorm(x[t], Apply(layer.attention_out, context), layer.attention_norm, w.norm_eps);
      Vector inner = Apply(layer.up, x[t]);
      for (double& v : inner) v *= 0.5 * (1 + std::erf(v / std::sqrt(2.0)));
      AddAndNorm(x[t], Apply(layer.down, inner), layer.out_norm, w.norm_eps);
    }
  }
  Vector vector = x[0];
  if (w.mean_pooling) {
    for (size_t t = 1; t < x.size(); ++t) {
      for (size_t i = 0; i < width; ++i) vector[i] += x[t][i];
    }
    for (double& v : vector) v /= static_cast<double>(x.size());
  }
  double length = 0;
  for (const double v : vector) length += v * v;
  if (w.normalize) {
    for (double& v : vector) v /= std::sqrt(length);
  }
  return vector;
}

// Lengths around those of vectors and blocks.
Rows SomeRows(int vocab) {
  std::mt19937 random(2);
  Rows rows;
  for (const size_t length : {1, 2, 15, 16, 17, 31, 40, 63, 64, 65, 127, 130, 280, 3, 8, 9}) {
    std::vector<int32_t>& row = rows.emplace_back(length);
    for (int32_t& id : row) id = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  }
  return rows;
}

double Cosine(const float* a, const Vector& b) {
  double product = 0, of_a = 0, of_b = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    product += a[i] * b[i];
    of_a += double{a[i]} * a[i];
    of_b += b[i] * b[i];
  }
  return product / std::sqrt(of_a * of_b);
}

}  // namespace vecino::encoder
