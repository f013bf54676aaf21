// What loading reads, holds and refuses. The numbers of loaded models are compared with
// transformers' in tests/unit/engine.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "architecture_files.h"
#include "checkpoint_files.h"
#include "core/group.h"
#include "core/thread_pool.h"
#include "counting_source.h"
#include "model/model.h"
#include "model/weight_shapes.h"

namespace mechsweep {
namespace {

using namespace test_files;
namespace fs = std::filesystem;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::vector<std::string> golden_folders() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden("")))
    if (fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename());
  EXPECT_GT(names.size(), 30U);
  return names;
}

Model load(const Checkpoint& checkpoint, KernelSet kernels = KernelSet::native,
           ComputeType type = ComputeType::float32, int threads = 1) {
  static SoloGroup solo;
  ThreadPool pool(threads);
  return Model(checkpoint, solo, {.kernels = kernels, .type = type, .threads = &pool});
}

std::vector<float> embedding_row(const Model& model, int32_t token) {
  std::vector<float> row(static_cast<size_t>(model.config().d_model));
  model.embed(token, 0, row.data());
  return row;
}

/// Logits of a row of small numbers, all tiles.
std::vector<float> logits(const Model& model) {
  std::vector<float> row(static_cast<size_t>(model.config().d_model));
  for (size_t i = 0; i < row.size(); ++i) row[i] = std::sin(static_cast<float>(i));
  std::vector<float> all;
  for (int64_t tile = 0; tile < model.vocab_tiles(); ++tile) {
    std::vector<float> some(static_cast<size_t>(model.tile_size(tile)));
    const float* rows[] = {row.data()};
    model.logits(tile, rows, some.data());
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

TEST(ModelLoading, EveryByteIsReadOnce) {
  for (const std::string& name : golden_folders()) {
    for (const KernelSet kernels : {KernelSet::native, KernelSet::aten}) {
      SCOPED_TRACE(name + ", " + std::string(kernel_set_name(kernels)));
      Checkpoint checkpoint = open_checkpoint(golden(name));
      auto counting = std::make_unique<CountingSource>(std::move(checkpoint.source));
      const CountingSource& source = *counting;
      // GPT-J has one norm in two places, and it is short.
      std::map<std::string, int> users;
      for (const auto& one : expected_tensors(checkpoint.config, checkpoint.tensors))
        if (one.shape.size() == 1 && one.stored_rows == 0) ++users[one.ref->name];
      checkpoint.source = std::move(counting);
      (void)load(checkpoint, kernels, ComputeType::float32, 2);
      for (const TensorInfo& info : source.tensors()) {
        if (checkpoint.architecture->is_ignored(info.name)) continue;
        const int times = std::max(1, users[info.name]);
        const auto [least, most] = source.times_read(info.name);
        EXPECT_EQ(most, times) << info.name;
        // OPT's first rows belong to no position.
        const TensorRef& positions = checkpoint.tensors.positions;
        const bool in_part = info.name == positions.name && positions.rows.begin > 0;
        EXPECT_EQ(least, in_part ? 0 : times) << info.name;
      }
    }
  }
}

TEST(ModelLoading, HeadersTellWhatIsHeld) {
  for (const std::string& name : golden_folders()) {
    const Checkpoint checkpoint = open_checkpoint(golden(name));
    for (const KernelSet kernels : {KernelSet::native, KernelSet::onednn, KernelSet::aten})
      for (const ComputeType type : {ComputeType::float32, ComputeType::bfloat16})
        EXPECT_EQ(load(checkpoint, kernels, type).weight_bytes(),
                  resident_weight_bytes(checkpoint, kernels, type))
            << name << ", " << kernel_set_name(kernels) << ", " << compute_type_name(type);
    EXPECT_EQ(load(checkpoint, KernelSet::native, ComputeType::float16).weight_bytes(),
              resident_weight_bytes(checkpoint, KernelSet::native, ComputeType::float16));
  }
}

TEST(ModelLoading, ATableThatIsHeldOnceHasTheRowsOfOneOfItsOwn) {
  const Checkpoint tied = open_checkpoint(golden("qwen2-tied"));
  ASSERT_TRUE(has_one_table(tied, KernelSet::native));
  ASSERT_FALSE(has_one_table(tied, KernelSet::aten));
  for (const ComputeType type : {ComputeType::float32, ComputeType::bfloat16}) {
    const Model once = load(tied, KernelSet::native, type);
    const Model twice = load(tied, KernelSet::aten, type);
    for (int32_t token = 0; token < tied.config.vocab_size; ++token)
      ASSERT_EQ(embedding_row(once, token), embedding_row(twice, token)) << token;
  }
}

TEST(ModelLoading, ThreadsChangeNoBit) {
  for (const char* name : {"llama-random", "gpt2-random", "gpt-neox-parallel"}) {
    const Checkpoint checkpoint = open_checkpoint(golden(name));
    const Model one = load(checkpoint, KernelSet::native, ComputeType::float32, 1);
    const Model more = load(checkpoint, KernelSet::native, ComputeType::float32, 5);
    EXPECT_EQ(logits(one), logits(more));
    const std::vector<float> row = embedding_row(one, 3);
    const float* rows[] = {row.data()};
    const ModelConfig& config = one.config();
    std::vector<float> first(
        static_cast<size_t>((config.n_heads + 2 * config.n_kv_heads) * config.head_size));
    std::vector<float> second = first;
    one.project_qkv(1, rows, first.data());
    more.project_qkv(1, rows, second.data());
    EXPECT_EQ(first, second);
  }
}

/// Has one number of a tensor replaced.
class Spiked final : public TensorSource {
 public:
  Spiked(std::unique_ptr<TensorSource> source, std::string name, float value)
      : source_(std::move(source)), name_(std::move(name)), value_(value) {}
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const override {
    return source_->tensors();
  }
  [[nodiscard]] std::vector<std::string> files() const override { return source_->files(); }
  void read_rows(const std::string& name, int64_t begin, int64_t end, float* out) const override {
    source_->read_rows(name, begin, end, out);
    if (name == name_ && begin == 0) out[0] = value_;
  }

 private:
  std::unique_ptr<TensorSource> source_;
  std::string name_;
  float value_;
};

TEST(ModelLoading, ValuesBeyondTheTypeAreRefusedByName) {
  for (const char* name :
       {"model.layers.1.mlp.down_proj.weight", "model.norm.weight", "model.embed_tokens.weight"}) {
    Checkpoint checkpoint = open_checkpoint(golden("llama-random"));
    checkpoint.source = std::make_unique<Spiked>(std::move(checkpoint.source), name, -7e4F);
    (void)load(checkpoint, KernelSet::native, ComputeType::bfloat16);
    expect_input_error([&] { (void)load(checkpoint, KernelSet::native, ComputeType::float16); },
                       std::string("tensor '") + name + "' has the value -70000");
  }
}

/// A single-file golden with a tensor added at the end of its data.
std::string with_tensor(const TempFolder& folder, const std::string& model, const std::string& name,
                        const std::string& like, char xor_last) {
  const auto read_file = [&](const char* file) {
    std::ifstream stream(golden(model) + "/" + file, std::ios::binary);
    std::stringstream bytes;
    bytes << stream.rdbuf();
    return bytes.str();
  };
  folder.write("config.json", read_file("config.json"));
  const std::string bytes = read_file("model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  Json header = Json::parse(bytes.substr(8, length));
  std::string data = bytes.substr(8 + length);
  const auto offsets = header.at(like).at("data_offsets").get<std::vector<size_t>>();
  header[name] = header[like];
  header[name]["data_offsets"] = {data.size(), data.size() + offsets[1] - offsets[0]};
  data += data.substr(offsets[0], offsets[1] - offsets[0]);
  data.back() = static_cast<char>(data.back() ^ xor_last);
  const std::string text = header.dump();
  folder.write("model.safetensors", Bytes().put<uint64_t>(text.size()).raw(text).data() + data);
  return folder.path();
}

TEST(ModelLoading, AStoredUnembeddingCountsEvenWhereTheConfigTies) {
  // As transformers has it, which ties the two only where they are equal.
  const TempFolder same;
  const TempFolder other;
  const char* kTable = "model.embed_tokens.weight";
  const Checkpoint tied = open_checkpoint(golden("qwen2-tied"));
  const Checkpoint equal =
      open_checkpoint(with_tensor(same, "qwen2-tied", "lm_head.weight", kTable, 0));
  const Checkpoint apart =
      open_checkpoint(with_tensor(other, "qwen2-tied", "lm_head.weight", kTable, '\x80'));
  EXPECT_TRUE(tied.config.tied_embeddings);
  EXPECT_FALSE(apart.config.tied_embeddings);
  const std::vector<float> expected = logits(load(tied));
  EXPECT_EQ(logits(load(equal)), expected);
  // Held twice, then.
  const ModelConfig& config = tied.config;
  EXPECT_EQ(load(equal).weight_bytes() - load(tied).weight_bytes(),
            int64_t{4} * config.vocab_size * config.d_model);
  const Model model = load(apart);
  // The last number of the last token's row has the other sign there, and in the embedding not.
  std::vector<float> changed = logits(model);
  EXPECT_NE(changed.back(), expected.back());
  changed.back() = expected.back();
  EXPECT_EQ(changed, expected);
  const int32_t last = tied.config.vocab_size - 1;
  EXPECT_EQ(embedding_row(model, last), embedding_row(load(tied), last));
}

/// Bytes of memory of this process by /proc's name: VmRSS now, VmHWM at most so far.
int64_t process_memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return std::atoll(line.c_str() + name.size() + 1) * 1024;
  return -1;
}

/// A Llama of zeros, in a file without blocks on the disk: only its sizes matter.
std::string zeros(const TempFolder& folder, bool tied) {
  const Json config = patched("llama-random", {{"hidden_size", 1024},
                                               {"intermediate_size", 8192},
                                               {"num_attention_heads", 16},
                                               {"num_key_value_heads", 8},
                                               {"head_dim", 64},
                                               {"num_hidden_layers", 2},
                                               {"vocab_size", 9000},
                                               {"tie_word_embeddings", tied}});
  folder.write("config.json", config.dump());
  const Architecture& llama = architecture("llama");
  ModelConfig model = llama.config_from_hf(config);
  const Checkpoint none = open_checkpoint(golden("llama-random"));
  const ModelTensors tensors = llama.tensors_of_hf(model, *none.source);
  Json header = Json::object();
  size_t end = 0;
  for (const ExpectedTensor& one : expected_tensors(model, tensors)) {
    const size_t bytes = static_cast<size_t>(value_count(one.shape)) * 2;
    header[one.ref->name] = {
        {"dtype", "BF16"}, {"shape", one.shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  const std::string text = header.dump();
  const std::string path =
      folder.write("model.safetensors", Bytes().put<uint64_t>(text.size()).raw(text).data());
  fs::resize_file(path, 8 + text.size() + end);
  return folder.path();
}

/// Loads and ends with status 0 if the peak was the weights, the largest matrix, and little more.
[[noreturn]] void measure_peak(const std::string& path, ComputeType type) {
  constexpr int64_t kSlack = int64_t{10} << 20;  // buffers of two threads, the heap's own
  ThreadPool pool(2);
  SoloGroup solo;
  const LoadOptions options = {.type = type, .threads = &pool};
  // Libraries take memory of their own once.
  (void)Model(open_checkpoint(golden("llama-random")), solo, options);
  const Checkpoint checkpoint = open_checkpoint(path);
  const int64_t before = process_memory("VmRSS");
  const Model model(checkpoint, solo, options);
  const int64_t peak = process_memory("VmHWM") - before;
  const int64_t largest = int64_t{2} * 8192 * 1024 * 4;  // gate and up
  std::fprintf(stderr, "%lld MB at most, of these %lld MB weights\n",
               static_cast<long long>(peak / 1'000'000),
               static_cast<long long>(model.weight_bytes() / 1'000'000));
  std::_Exit(peak > model.weight_bytes() && peak <= model.weight_bytes() + largest + kSlack ? 0
                                                                                            : 1);
}

TEST(ModelLoading, PeakIsTheWeightsAndOneMatrix) {
  if (kSanitized) GTEST_SKIP() << "sanitizers take memory of their own";
  // In a process that has done nothing else, which runs this test from the start up to its own
  // part.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  constexpr const char* kPath = "MECHSWEEP_TEST_MODEL_OF_ZEROS";
  const char* inherited = std::getenv(kPath);
  for (const bool tied : {false, true}) {
    const TempFolder folder;
    const std::string path = inherited != nullptr ? inherited : zeros(folder, tied);
    ::setenv(kPath, path.c_str(), 1);
    for (const ComputeType type : {ComputeType::float32, ComputeType::bfloat16})
      EXPECT_EXIT(measure_peak(path, type), ::testing::ExitedWithCode(0), "MB weights");
  }
  ::unsetenv(kPath);
}

}  // namespace
}  // namespace mechsweep
