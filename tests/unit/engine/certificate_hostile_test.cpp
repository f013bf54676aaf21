// Files that are no references, or damaged ones: refused by field, and nothing worse.

#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "engine/certificate_reference.h"
#include "model/checkpoint.h"

namespace mechsweep {
namespace {

using ::testing::HasSubstr;

std::string golden(const std::string& name) {
  return std::string(MECHSWEEP_SOURCE_DIR) + "/tests/golden/" + name;
}

ModelConfig config_of_reference() {
  return open_checkpoint(golden("checkpoints/llama-random")).config;
}

/// The golden reference, changed.
Reference reference_with(const std::function<void(Json&)>& change) {
  std::ifstream file(golden("references/llama-random.json"));
  Json json = Json::parse(file);
  change(json);
  return parse_reference(json.dump(), "r.json", config_of_reference());
}

struct Hostile {
  const char* words;  ///< that the refusal must contain
  std::function<void(Json&)> change;
};

TEST(HostileReference, HostileFilesAreRefusedByField) {
  const std::vector<Hostile> all = {
      {"is no reference", [](Json& r) { r["format"] = "something"; }},
      {"format_version", [](Json& r) { r["format_version"] = 2; }},
      {"the reference.made_by", [](Json& r) { r.erase("made_by"); }},
      {"made_by.transformers", [](Json& r) { r["made_by"]["transformers"] = 5; }},
      {"at most 200 bytes", [](Json& r) { r["dtype"] = std::string(1000, 'x'); }},
      {"shape.layers is 4", [](Json& r) { r["shape"]["layers"] = 4; }},
      {"shape.heads", [](Json& r) { r["shape"]["heads"] = 1e300; }},
      {"shape.vocab", [](Json& r) { r["shape"]["vocab"] = -1; }},
      {"files[0].sha256", [](Json& r) { r["files"][0].erase("sha256"); }},
      {"files[0] is not an object", [](Json& r) { r["files"][0] = 3; }},
      {"sample has -1", [](Json& r) { r["sample"][0] = -1; }},
      {"sample has 18446744073709551615", [](Json& r) { r["sample"][0] = UINT64_MAX; }},
      {"prompts is empty", [](Json& r) { r["prompts"] = Json::array(); }},
      {"prompts is not a list", [](Json& r) { r["prompts"] = "all"; }},
      {"prompts[0].tokens has 1 tokens", [](Json& r) { r["prompts"][0]["tokens"] = {1}; }},
      {"prompts[0].tokens", [](Json& r) { r["prompts"][0]["tokens"] = Json(1 << 20, 1); }},
      {"prompts[1].tokens has 99999", [](Json& r) { r["prompts"][1]["tokens"][2] = 99999; }},
      {"prompts[0].loss is not a list of 7", [](Json& r) { r["prompts"][0]["loss"].push_back(1); }},
      {"prompts[0].loss has null", [](Json& r) { r["prompts"][0]["loss"][0] = nullptr; }},
      {"prompts[0].logits", [](Json& r) { r["prompts"][0]["logits"].erase(0); }},
      {"prompts[0].logits[1]", [](Json& r) { r["prompts"][0]["logits"][1] = Json::array(); }},
      {"prompts[0].top[2].logits", [](Json& r) { r["prompts"][0]["top"][2]["logits"] = {1}; }},
      {"heads[0].prompt", [](Json& r) { r["heads"][0]["prompt"] = 3; }},
      {"heads[0].layer", [](Json& r) { r["heads"][0]["layer"] = 3; }},
      {"heads[0].head has \"a\"", [](Json& r) { r["heads"][0]["head"] = "a"; }},
      {"heads[0].delta_loss", [](Json& r) { r["heads"][0]["delta_loss"] = {{1}}; }},
      {"spread.bfloat16.loss", [](Json& r) { r["spread"]["bfloat16"]["loss"] = false; }},
      {"spread.bfloat16 is below 0", [](Json& r) { r["spread"]["bfloat16"]["loss"] = -1.0; }},
      {"tokens to compute", [](Json& r) { r["heads"] = Json(20'000, r["heads"][0]); }},
  };
  for (const Hostile& one : all) {
    try {
      (void)reference_with(one.change);
      ADD_FAILURE() << one.words << ": was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_THAT(error.what(), HasSubstr(one.words));
      EXPECT_THAT(error.what(), ::testing::StartsWith("r.json: "));
    }
  }
}

TEST(HostileReference, TextThatIsNoJsonIsRefused) {
  const ModelConfig config = config_of_reference();
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string(1'000'000, '['), std::string("{\"format\": NaN}"), std::string("\xff\xfe")})
    EXPECT_THROW((void)parse_reference(text, "r.json", config), Error) << text.substr(0, 20);
  EXPECT_THROW((void)read_reference("/does/not/exist.json", config), Error);
}

}  // namespace
}  // namespace mechsweep
