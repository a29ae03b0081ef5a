"""The part of SentencePiece's file format that we read and change.

The package brings the whole of it as generated code, which asks for a protobuf
that is newer than Apache Beam takes. Fields that are not named here stay as
they are when a model is parsed and written again. The numbers are those of
https://github.com/google/sentencepiece/blob/v0.2.0/src/sentencepiece_model.proto
"""

from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message_factory,
  text_format,
)

_SCHEMA = """
name: 'sentencepiece_model.proto'
package: 'sentencepiece'
syntax: 'proto2'
message_type {
  name: 'TrainerSpec'
  field { name: 'model_type' number: 3 label: LABEL_OPTIONAL type: TYPE_ENUM
          type_name: '.sentencepiece.TrainerSpec.ModelType'
          default_value: 'UNIGRAM' }
  field { name: 'byte_fallback' number: 35 label: LABEL_OPTIONAL
          type: TYPE_BOOL default_value: 'false' }
  enum_type {
    name: 'ModelType'
    value { name: 'UNIGRAM' number: 1 }
    value { name: 'BPE' number: 2 }
    value { name: 'WORD' number: 3 }
    value { name: 'CHAR' number: 4 }
  }
}
message_type {
  name: 'NormalizerSpec'
  field { name: 'name' number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: 'precompiled_charsmap' number: 2 label: LABEL_OPTIONAL
          type: TYPE_BYTES }
  field { name: 'add_dummy_prefix' number: 3 label: LABEL_OPTIONAL
          type: TYPE_BOOL default_value: 'true' }
  field { name: 'remove_extra_whitespaces' number: 4 label: LABEL_OPTIONAL
          type: TYPE_BOOL default_value: 'true' }
}
message_type {
  name: 'ModelProto'
  field { name: 'pieces' number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
          type_name: '.sentencepiece.ModelProto.SentencePiece' }
  field { name: 'trainer_spec' number: 2 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: '.sentencepiece.TrainerSpec' }
  field { name: 'normalizer_spec' number: 3 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: '.sentencepiece.NormalizerSpec' }
  nested_type {
    name: 'SentencePiece'
    field { name: 'piece' number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: 'score' number: 2 label: LABEL_OPTIONAL type: TYPE_FLOAT }
    field { name: 'type' number: 3 label: LABEL_OPTIONAL type: TYPE_ENUM
            type_name: '.sentencepiece.ModelProto.SentencePiece.Type'
            default_value: 'NORMAL' }
    enum_type {
      name: 'Type'
      value { name: 'NORMAL' number: 1 }
      value { name: 'UNKNOWN' number: 2 }
      value { name: 'CONTROL' number: 3 }
      value { name: 'USER_DEFINED' number: 4 }
      value { name: 'UNUSED' number: 5 }
      value { name: 'BYTE' number: 6 }
    }
  }
}
"""

# A pool of its own: the package's code may be in the common one.
_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto()))
ModelProto = message_factory.GetMessageClass(
  _pool.FindMessageTypeByName('sentencepiece.ModelProto')
)
